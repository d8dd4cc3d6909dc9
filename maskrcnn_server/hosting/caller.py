"""Who waits for an answer, as the front end knows it and the engine asks."""

import time
from collections.abc import Callable


class Caller:
    """Who waits for an answer: until when, and whether still there."""

    def __init__(self, timeout_s: float) -> None:
        self.timeout_s = timeout_s
        self.deadline = time.monotonic() + timeout_s
        self.is_gone = False
        self._wake: Callable[[], None] = lambda: None

    def leave(self) -> None:
        """Nobody waits for the answer any more. From any thread."""
        self.is_gone = True
        self._wake()

    def wake_by(self, wake: Callable[[], None]) -> None:
        """Call this when the caller leaves."""
        self._wake = wake

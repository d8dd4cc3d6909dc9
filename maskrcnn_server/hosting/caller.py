"""The client of a request, as the front end knows it and the scheduler needs it."""

import time
from collections.abc import Callable


class Caller:
    """The client of a request, as the front end knows it and the scheduler needs it."""

    def __init__(self, timeout_s: float) -> None:
        self.timeout_s = timeout_s
        self.deadline = time.monotonic() + timeout_s
        self.is_gone = False
        self.wake: Callable[[], None] = lambda: None
        """Function that wakes the threads that wait on behalf of this caller."""

    def leave(self) -> None:
        """Note that nobody waits for the reply any more. May be called from any thread."""
        self.is_gone = True
        self.wake()

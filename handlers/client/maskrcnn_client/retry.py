"""How often, and for how long, a busy server is asked again."""

import random
import time

BUSY = frozenset({429, 502, 503, 504})
"""Statuses of a server, or a proxy, that may answer the same request later."""
FIRST_WAIT_S = 0.5
MAX_WAIT_S = 20


class Backoff:
    """Waits before each try but the first, until `retry_s` seconds are over.

    They grow, at random, so that many clients do not come back at once.
    """

    def __init__(self, retry_s: float) -> None:
        self._deadline = time.monotonic() + retry_s
        self._longest_s: float = FIRST_WAIT_S

    def next_s(self, retry_after_s: float | None) -> float | None:
        """Seconds to wait, at least what the server asks for; None if time would be over then."""
        wait_s = (retry_after_s or 0) + random.uniform(0, self._longest_s)  # noqa: S311
        self._longest_s = min(2 * self._longest_s, MAX_WAIT_S)
        return wait_s if time.monotonic() + wait_s < self._deadline else None

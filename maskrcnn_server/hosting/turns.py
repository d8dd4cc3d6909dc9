"""Several models on one machine: whose turn it is to compute."""

import threading
import time
from collections import deque

TURN_S = 20.0
"""A call that takes longer does not keep other models from computing beside it."""


class Turns:
    """Which of several schedulers computes next: one at a time, each in its turn.

    One that computes for longer than `limit_s` does so beside the next.
    """

    def __init__(self, limit_s: float = TURN_S) -> None:
        self.changed = threading.Condition()
        """Guards the turns and the schedulers' queues, and is notified when one changes."""
        self._limit_s = limit_s
        self._turn: object | None = None
        """Whose turn it is."""
        self._until = 0.0
        self._running: set[object] = set()
        """Who computes, also after its turn."""
        self._waiting: deque[object] = deque()

    def wants(self, scheduler: object) -> None:
        """Line up `scheduler`, if it is not in the line. While holding the lock, as all here."""
        if scheduler not in self._waiting:
            self._waiting.append(scheduler)

    def may_run(self, scheduler: object) -> bool:
        """Whether nobody's turn lasts, and it is this scheduler's."""
        ready = (other for other in self._waiting if other not in self._running)
        return self.left_s() <= 0 and next(ready, None) is scheduler

    def left_s(self) -> float:
        """Seconds for which whoever runs keeps the others waiting, at most."""
        return 0.0 if self._turn is None else self._until - time.monotonic()

    def begin(self, scheduler: object) -> None:
        """Have `scheduler` run."""
        self._turn, self._until = scheduler, time.monotonic() + self._limit_s
        self._running.add(scheduler)

    def end(self, scheduler: object) -> None:
        """`scheduler` does not run any more; its turn may be over already."""
        self._running.remove(scheduler)
        if self._turn is scheduler:
            self._turn = None

    def leave(self, scheduler: object) -> None:
        """Take `scheduler` out of the line."""
        if scheduler in self._waiting:
            self._waiting.remove(scheduler)

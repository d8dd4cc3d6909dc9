"""Several models on one machine: whose turn it is to compute."""

import threading
import time
from collections import deque

TURN_S = 20.0
"""A call that takes longer does not keep other models from computing beside it."""


class Turns:
    """Which of several engines computes next: one at a time, each in its turn.

    One that computes for longer than `limit_s` does so beside the next.
    """

    def __init__(self, limit_s: float = TURN_S) -> None:
        self.changed = threading.Condition()
        """Guards the turns and the engines' queues, and is notified when one changes."""
        self._limit_s = limit_s
        self._turn: object | None = None
        """Whose turn it is."""
        self._until = 0.0
        self._running: set[object] = set()
        """Who computes, also after its turn."""
        self._waiting: deque[object] = deque()

    def wants(self, engine: object) -> None:
        """Line up `engine`, if it is not in the line. While holding the lock, as all here."""
        if engine not in self._waiting:
            self._waiting.append(engine)

    def may_run(self, engine: object) -> bool:
        """Whether nobody's turn lasts, and it is this engine's."""
        ready = (other for other in self._waiting if other not in self._running)
        return self.left_s() <= 0 and next(ready, None) is engine

    def left_s(self) -> float:
        """Seconds for which whoever runs keeps the others waiting, at most."""
        return 0.0 if self._turn is None else self._until - time.monotonic()

    def begin(self, engine: object) -> None:
        """Have `engine` run."""
        self._turn, self._until = engine, time.monotonic() + self._limit_s
        self._running.add(engine)

    def end(self, engine: object) -> None:
        """`engine` does not run any more; its turn may be over already."""
        self._running.remove(engine)
        if self._turn is engine:
            self._turn = None

    def leave(self, engine: object) -> None:
        """Take `engine` out of the line."""
        if engine in self._waiting:
            self._waiting.remove(engine)

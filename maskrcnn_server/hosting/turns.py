"""Several models on one machine: whose turn it is to compute."""

from __future__ import annotations

import math
import threading
import time
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from maskrcnn_server.hosting.job import Job

TURN_S = 20.0
"""Longest time in seconds for which one call keeps other models from computing."""


class Queue(Protocol):
    """The jobs of one model."""

    def next_job(self) -> Job | None:
        """The first job whose images wait for a call, if one can begin."""


class Turns:
    """Which of several queues has the next call: one call at a time, each queue in its turn.

    A call that takes longer than `limit_s` no longer keeps the others waiting; with 0, none does.
    Its users hold the lock.
    """

    def __init__(self, limit_s: float = TURN_S) -> None:
        self.lock = threading.RLock()
        """Lock of the turns and of all queues."""
        self.queues: list[Queue] = []
        """All queues; the one whose last turn is longest ago comes first."""
        self._limit_s = limit_s
        self._turn_ends: dict[Queue, float] = {}
        """End of the turn (`time.monotonic`) of each queue that has a call running."""

    def left_s(self) -> float:
        """Seconds until a turn ends at the latest. Infinite: it is nobody's turn."""
        left_s = max(self._turn_ends.values(), default=0.0) - time.monotonic()
        return left_s if left_s > 0 else math.inf

    def next_job(self) -> Job | None:
        """The job that may begin a call. None: there is none, or somebody's turn lasts."""
        if self._turn_ends and self.left_s() < math.inf:
            return None
        for queue in self.queues:
            if (job := queue.next_job()) is not None:
                return job
        return None

    def begin(self, queue: Queue) -> None:
        """Begin the turn of a queue."""
        self.queues.remove(queue)
        self.queues.append(queue)
        self._turn_ends[queue] = time.monotonic() + self._limit_s

    def end(self, queue: Queue) -> None:
        """End the turn of a queue, which may be over already."""
        self._turn_ends.pop(queue, None)

"""Several models on one machine: whose turn it is to compute."""

import threading
import time
from typing import Protocol

from maskrcnn_server.hosting.job import Job

TURN_S = 20.0
"""Longest time in seconds for which one call keeps other models from computing."""


class Queue(Protocol):
    """Jobs of one model."""

    def next_job(self) -> Job | None:
        """The first job whose images wait for a call."""


class Turns:
    """Which of several queues has the next call: one call at a time, each queue in its turn.

    A call that takes longer than `limit_s` no longer keeps the others waiting. The lock is held
    whenever a method is called.
    """

    def __init__(self, limit_s: float = TURN_S) -> None:
        self.lock = threading.RLock()
        """Lock of the turns and of all queues."""
        self._limit_s = limit_s
        self._queues: list[Queue] = []
        """All queues; the one whose last turn is longest ago comes first."""
        self._turn_ends: dict[Queue, float] = {}
        """End of the turn (`time.monotonic`) of each queue that has a call running."""

    def join(self, queue: Queue) -> None:
        """Let a queue take turns."""
        self._queues.append(queue)

    def leave(self, queue: Queue) -> None:
        """Let a queue take no more turns. It may have left already."""
        if queue in self._queues:
            self._queues.remove(queue)

    def left_s(self) -> float:
        """Seconds for which a running call keeps others waiting at most; 0 or less if none does."""
        return max(self._turn_ends.values(), default=0.0) - time.monotonic()

    def next_job(self) -> Job | None:
        """The job that the next call is for. None: there is none, or it is nobody's turn yet."""
        if self.left_s() <= 0:
            for queue in self._queues:
                if queue not in self._turn_ends and (job := queue.next_job()) is not None:
                    return job
        return None

    def begin(self, queue: Queue) -> None:
        """Begin the turn of a queue."""
        self._queues.remove(queue)
        self._queues.append(queue)
        self._turn_ends[queue] = time.monotonic() + self._limit_s

    def end(self, queue: Queue) -> None:
        """End the turn of a queue, whose call is over."""
        del self._turn_ends[queue]

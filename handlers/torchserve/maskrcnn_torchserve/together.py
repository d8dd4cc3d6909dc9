"""Requests that came together, answered together: their images reach the model in one call."""

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from queue import SimpleQueue
from typing import TypeVar

from maskrcnn_server.backend import Model, PredictOptions
from maskrcnn_server.hosting.job import Caller, Job
from maskrcnn_server.hosting.scheduler import Scheduler
from maskrcnn_server.stopwatch import stage

T = TypeVar("T")


class BatchScheduler(Scheduler):
    """Runs a model for requests that come in batches, and have waited before they came.

    Each request of a batch is answered in a thread of its own, as if it had come alone. Those that
    get as far as the model meet there: images with equal options go to it in one call.
    """

    def __init__(self, model: Model) -> None:
        super().__init__(model, max_waiting=0)
        self._steps: SimpleQueue[Job | None] = SimpleQueue()
        """Next step of each open request, in any order: a job for the model, or its end (None)."""

    def together(self, requests: Sequence[Callable[[], T]]) -> list[T]:
        """What each request returns, in the order given; by one thread at a time."""
        if not requests:
            return []
        with ThreadPoolExecutor(len(requests)) as pool:
            results = [pool.submit(self._until_its_end, request) for request in requests]
            still_open = len(requests)
            while still_open:
                steps = [self._steps.get() for _ in range(still_open)]
                jobs = [step for step in steps if step is not None]
                still_open = len(jobs)
                alike: dict[PredictOptions, list[Job]] = {}
                for job in jobs:
                    alike.setdefault(job.options, []).append(job)
                batches = list(alike.values())
                while batches:
                    batch = batches.pop(0)
                    with self._lock:
                        self._run(batch)
                    batches += [[job] for job in batch if job.outcome is None]
        return [result.result() for result in results]

    @contextmanager
    def job(self, caller: Caller) -> Iterator[Job]:
        """A job that does not wait for memory: a batch is admitted as it is."""
        yield Job(caller, self.compute, threading.Condition(self._lock))

    def compute(self, job: Job) -> None:
        """Give a job its outcome, once every other open request has a job too, or has ended."""
        self._steps.put(job)
        with stage("wait"), self._lock:
            job.changed.wait_for(lambda: job.outcome is not None)

    def _until_its_end(self, request: Callable[[], T]) -> T:
        try:
            return request()
        finally:
            self._steps.put(None)

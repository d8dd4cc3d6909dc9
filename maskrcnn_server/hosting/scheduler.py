"""Between many requests and one model: who may wait, how long, and what is computed together."""

from __future__ import annotations

import math
import threading
import time
from _thread import start_new_thread
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import islice
from operator import attrgetter
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from maskrcnn_server.backend import Batches, ModelLost, Restarts
from maskrcnn_server.errors import (
    BackendFailed,
    CallerGone,
    DeadlineExceeded,
    MaskRCNNError,
    ModelFailed,
    NotReady,
    OutOfMemory,
    QueueFull,
)
from maskrcnn_server.hosting.job import Job
from maskrcnn_server.hosting.turns import Turns
from maskrcnn_server.stopwatch import stage

if TYPE_CHECKING:
    from maskrcnn_server.backend import Image, Model, PredictOptions
    from maskrcnn_server.detections import Detections
    from maskrcnn_server.hosting.job import Caller

SIZE = attrgetter("size")
SMOOTHING = 0.2
"""Weight of the latest call in the average time of an image."""


@runtime_checkable
class Parallel(Protocol):
    """Ability of a model: to compute several calls at the same time."""

    @property
    def max_calls(self) -> int:
        """Number of calls at the same time at most."""

    @property
    def capacity(self) -> int:
        """Number of calls at the same time now. A model that `Restarts` tells of changes."""

    def workers(self) -> list[dict[str, str]]:
        """Description of everything that computes a call: device, status, reason of a failure."""


class Scheduler:
    """Runs a model for requests from many threads: one call at a time, or as many as a `Parallel`
    model computes; first come first served.

    Images of waiting requests are computed in one call where that changes no answer: their options
    are equal, and so are their sizes in the network (see `Batches`). Schedulers with the same
    `turns` take turns. While a model `Restarts`, requests wait; those whose call was lost with it
    are computed once more, each by itself.
    """

    def __init__(
        self,
        model: Model,
        *,
        max_waiting: int,
        max_batch: int = 1,
        turns: Turns | None = None,
        limit_s: float = math.inf,
    ) -> None:
        """`max_waiting` requests may wait while one call runs, of `max_batch` images at most. A
        call that takes longer than `limit_s` hangs."""
        self._model = model
        self.metadata = model.metadata
        """The model's description of itself."""
        self._restarts = model if isinstance(model, Restarts) else None
        self._batches = model if isinstance(model, Batches) and model.batch_pixels else None
        self._parallel = model if isinstance(model, Parallel) else None
        self.limit_s = limit_s
        self.max_batch = max_batch if self._batches else 1
        """Number of images in one call at most."""
        self._max_waiting = max_waiting
        self._max_calls = 1 if self._parallel is None else self._parallel.max_calls
        self._max_running = self._max_calls * self.max_batch
        self.max_admitted = self._max_running + min(self._max_running, max_waiting)
        """Number of requests that have images in memory at most: those that run, and as many that
        are decoded meanwhile."""
        self._turns = turns or Turns()
        self._lock = self._turns.lock
        self._idle = threading.Condition(self._lock)
        """Condition that is notified when a call ends."""
        self._jobs: list[Job] = []
        """Jobs of all requests, in the order of their arrival, until their images are let go."""
        self._running: dict[tuple[Job, ...], float] = {}
        """Jobs of each call that runs, and its begin (`time.monotonic`)."""
        self._refusing = False
        self._why = ""
        self.calls: Counter[int] = Counter()
        """Number of calls of the model, by their number of images."""
        self._image_s = 0.0
        """Average time of an image in seconds; recent calls have more weight."""
        with self._lock:
            self._turns.queues.append(self)
        if self._restarts is not None:
            self._restarts.tell(self._wake)

    @property
    def waiting(self) -> int:
        """Number of requests that wait, with an image in memory or without."""
        return max(0, len(self._jobs) - self.running)

    @property
    def ready(self) -> int:
        """Number of requests whose images wait for a call."""
        return sum(job.is_ready for job in self._jobs)

    @property
    def running(self) -> int:
        """Number of requests in the calls that run."""
        return sum(map(len, list(self._running)))

    @property
    def is_ending(self) -> bool:
        """Whether no more requests are started."""
        return self._refusing

    @property
    def hangs(self) -> bool:
        """Whether a call that runs takes too long."""
        began = min(list(self._running.values()), default=math.inf)
        return time.monotonic() - began > self.limit_s

    @property
    def restarts(self) -> int:
        """How often what the model runs in was lost."""
        return 0 if self._restarts is None else self._restarts.restarts

    @property
    def workers(self) -> list[dict[str, str]]:
        """Description of all that compute calls. Empty: there is one call at a time."""
        return [] if self._parallel is None else self._parallel.workers()

    def is_up(self) -> bool:
        """Whether the model can compute now. Raises ModelFailed if nobody should wait for that."""
        if self.hangs:
            raise ModelFailed(f"the model has computed one call for more than {self.limit_s:g} s")
        return self._restarts is None or self._restarts.is_up()

    @contextmanager
    def job(self, caller: Caller) -> Iterator[Job]:
        """A place in the queue. Waits until images may be in memory, as long as the context lasts.

        Raises QueueFull at once if too many wait, and what `Job.predict` raises while it waits.
        """
        job = Job(caller, self.compute, threading.Condition(self._lock))
        with self._lock:
            if len(self._jobs) >= self._max_waiting + self._max_running:
                # By then, about half of those that wait are answered.
                wait_s = self._image_s * len(self._jobs) / self._max_calls
                retry_after_s = max(1, math.ceil(wait_s / 2))
                raise QueueFull(
                    f"{self._max_waiting} requests are waiting already; "
                    f"try again in {retry_after_s} s",
                    max_waiting=self._max_waiting,
                    retry_after_s=retry_after_s,
                )
            self._jobs.append(job)
        caller.wake = self._wake
        try:
            with stage("wait"), self._lock:
                while (wait_s := self._wait_s(job)) > 0:
                    job.changed.wait(wait_s)
            yield job
        finally:
            with self._lock:
                self._jobs.remove(job)
                for newly_admitted in self._jobs[self.max_admitted - 1 : self.max_admitted]:
                    newly_admitted.changed.notify()
                if job.outcome is None:
                    self._wake_next()

    def compute(self, job: Job) -> None:
        """Give a job its outcome. Raises what `Job.predict` raises while it waits."""
        if self._batches is not None and len(job.images) == 1:
            height, width, _ = job.images[0].shape
            job.shape = self._batches.network_shape((height, width))
            fitting = self._batches.batch_pixels // math.prod(job.shape)
            job.max_batch = max(1, min(self.max_batch, fitting))
        with stage("wait"), self._lock:
            job.is_ready = True
            while job.outcome is None:
                if (wait_s := self._wait_s(job)) > 0:
                    job.changed.wait(wait_s)
                else:
                    self._run(self._batch_of(job))
                    self._go_on()

    def _go_on(self) -> None:
        """Let the next call begin, in a thread of its own if it is one of this model."""
        if self._turns.next_job() in self._jobs:
            with suppress(RuntimeError):  # no more threads can be started
                start_new_thread(self._drive, ())
                return
        self._wake_next()

    def _drive(self) -> None:
        """Run one call after the other while jobs are ready.

        The jobs' own threads would first have to wake up, beside those that just got their outcome,
        and the model would wait for them.
        """
        with self._lock:
            with suppress(ModelFailed):
                while not self._refusing and self.is_up():
                    job = self._turns.next_job()
                    if job is None or job not in self._jobs:
                        break
                    self._run(self._batch_of(job))
            self._wake_next()

    def next_job(self) -> Job | None:
        """The first job whose images wait for a call, if one can begin."""
        if len(self._running) >= (1 if self._parallel is None else self._parallel.capacity):
            return None
        for job in self._jobs[: self.max_admitted]:
            if job.is_ready:
                return job
        return None

    def refuse_waiting(self, why: str = "the server is shutting down") -> None:
        """Start no more requests, and tell those that wait why; those that run go on."""
        self._why, self._refusing = self._why or why, True
        self._wake()

    def close(
        self, timeout_s: float | None = None, why: str = "the server is shutting down"
    ) -> bool:
        """Start no more requests, and close the model after the calls that run.

        False if that took longer than `timeout_s`; the model then stays as it is.
        """
        self.refuse_waiting(why)
        with self._lock:
            if not self._idle.wait_for(lambda: not self._running, timeout_s):
                return False
            if self in self._turns.queues:
                self._turns.queues.remove(self)
            self._model.close()
            return True

    def _wake(self) -> None:
        """Let every job see whether it may go on."""
        with self._lock:
            for job in self._jobs:
                job.changed.notify()

    def _wake_next(self) -> None:
        """Let the job that may begin a call, of whichever scheduler, do so."""
        if (job := self._turns.next_job()) is not None:
            job.changed.notify()

    def _wait_s(self, job: Job) -> float:
        """Seconds that a job waits if nothing changes meanwhile. 0 or less: it goes on.

        Raises what `Job.predict` raises while it waits.
        """
        if job.images and not job.is_ready:
            return threading.TIMEOUT_MAX
        caller = job.caller
        left_s = caller.deadline - time.monotonic()
        if self._refusing:
            raise NotReady(f"{self._why}; the request did not run")
        if caller.is_gone:
            raise CallerGone("the client has gone; the request did not run")
        if left_s <= 0:
            raise DeadlineExceeded(
                f"the model was busy for {caller.timeout_s:g} s; the request did not run",
                timeout_s=caller.timeout_s,
            )
        if not self.is_up():
            return left_s
        if not job.is_ready:
            return 0.0 if job in self._jobs[: self.max_admitted] else left_s
        if self._turns.next_job() is job:
            return 0.0
        return min(left_s, self._turns.left_s())

    def _batch_of(self, first: Job) -> list[Job]:
        """The first job that is ready, and those that are computed in one call with it."""
        kind = first.shape, first.max_batch, first.options
        return [
            job
            for job in self._jobs[: self.max_admitted]
            if job.is_ready and (job.shape, job.max_batch, job.options) == kind
        ][: first.max_batch]

    def _run(self, batch: Sequence[Job]) -> None:
        """Give each job its outcome. Holds the lock before and after, not while computing."""
        for job in batch:
            job.is_ready = False
        call, began = tuple(batch), time.monotonic()
        self._running[call] = began
        self._turns.begin(self)
        self._wake_next()
        self._lock.release()
        # The stopwatch of the first job's thread, which waits, times the call.
        outcomes = batch[0].context.run(self._outcomes, batch)
        self._lock.acquire()
        image_s = (time.monotonic() - began) / len(batch)
        self._image_s += SMOOTHING * (image_s - self._image_s) if self._image_s else image_s
        for job, outcome in zip(batch, outcomes, strict=True):
            if isinstance(outcome, ModelLost) and not job.was_lost:
                job.was_lost, job.is_ready, job.max_batch = True, True, 1
            else:
                job.outcome = outcome
            job.changed.notify()
        del self._running[call]
        self._turns.end(self)
        self._idle.notify_all()

    def _outcomes(self, batch: Sequence[Job]) -> Sequence[list[Detections] | BaseException]:
        """Outcome of each job, by one call; if that fails, by a call for each, so that only those
        that are at fault fail. Raises nothing."""
        try:
            if len(batch) == 1:
                return [self._call(batch[0].images, batch[0].options)]
            found = iter(self._call([i for job in batch for i in job.images], batch[0].options))
            return [list(islice(found, len(job.images))) for job in batch]
        except BaseException as error:
            if len(batch) == 1 or isinstance(error, ModelLost) or not isinstance(error, Exception):
                return [error] * len(batch)
            return [outcome for job in batch for outcome in self._outcomes([job])]

    def _call(self, images: Sequence[Image], options: PredictOptions) -> list[Detections]:
        with self._lock:
            self.calls[len(images)] += 1
        try:
            with stage("model"):
                found = self._model.predict(images, options)
            sizes = list(map(SIZE, found))
        except MaskRCNNError:
            raise
        except MemoryError as error:
            raise OutOfMemory(
                "the memory does not suffice for this request now", retry_after_s=1
            ) from error
        # SystemExit would end the server.
        except (Exception, SystemExit) as error:
            raise BackendFailed("the backend failed on this request") from error
        if len(sizes) != len(images):
            raise BackendFailed(f"the backend gave {len(sizes)} answers for {len(images)} images")
        for size, image in zip(sizes, images, strict=True):
            if size != image.shape[:2]:
                raise BackendFailed(f"the backend gave size {size} for an image of {image.shape}")
        return found

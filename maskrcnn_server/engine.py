"""Between many requests and one model: who may wait, for how long, and whose turn it is."""

import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from maskrcnn_server.backend import Image, Model, ModelMetadata, PredictOptions
from maskrcnn_server.detections import Detections
from maskrcnn_server.errors import (
    BackendFailed,
    DeadlineExceeded,
    MaskRCNNError,
    NotReady,
    QueueFull,
)

AT_WORK = 2
"""Requests whose images are in memory at a time: one at the model, and the next one."""


class Engine:
    """Runs a model for requests from many threads: one at a time, first come first served.

    `max_waiting` requests may wait while one runs, each `timeout_s` seconds at most.
    """

    def __init__(self, model: Model, *, max_waiting: int, timeout_s: float) -> None:
        self._model = model
        self._max_waiting = max_waiting
        self._timeout_s = timeout_s
        self._changed = threading.Condition()
        self._queue: deque[object] = deque()
        """Tickets of those that were admitted; the first `AT_WORK` are worked on."""
        self._running = False
        self._refusing = False

    @property
    def metadata(self) -> ModelMetadata:
        """What the model says of itself."""
        return self._model.metadata

    @contextmanager
    def admission(self) -> Iterator[None]:
        """The time in which a request is worked on: its image in memory, its turn at the model.

        Waits until it is one of `AT_WORK`. Raises QueueFull at once if too many wait already,
        DeadlineExceeded when its time did not come, NotReady when `refuse_waiting` was called
        before it came.
        """
        ticket = object()
        with self._changed:
            if len(self._queue) > self._max_waiting:
                raise QueueFull(
                    f"{self._max_waiting} requests are waiting already; try again in a second",
                    max_waiting=self._max_waiting,
                )
            self._queue.append(ticket)
        try:
            self._wait(lambda: ticket in list(self._queue)[:AT_WORK])
            yield
        finally:
            with self._changed:
                self._queue.remove(ticket)
                self._changed.notify_all()

    def predict(self, images: Sequence[Image], options: PredictOptions) -> list[Detections]:
        """Detections of each image, when it is this request's turn.

        Raises DeadlineExceeded when the turn did not come in time, NotReady when `refuse_waiting`
        was called before it came, and BackendFailed when the model raised anything but an error of
        ours, or gave anything but an answer for each image.
        """
        with self._turn():
            try:
                found = self._model.predict(images, options)
                answered = [detections.size for detections in found]
            except MaskRCNNError:
                raise
            except Exception as error:
                raise BackendFailed("the backend failed on this request") from error
        asked = [image.shape[:2] for image in images]
        if len(answered) != len(asked):
            raise BackendFailed(f"the backend gave {len(answered)} answers for {len(asked)} images")
        if answered != asked:
            raise BackendFailed(f"the backend gave sizes {answered} for images of {asked}")
        return found

    def refuse_waiting(self) -> None:
        """Start no more requests; the one that runs goes on."""
        with self._changed:
            self._refusing = True
            self._changed.notify_all()

    def close(self, timeout_s: float | None = None) -> bool:
        """Start no more requests, and close the model after the one that runs.

        False if that took longer than `timeout_s`; the model then stays as it is.
        """
        self.refuse_waiting()
        with self._changed:
            if not self._changed.wait_for(lambda: not self._running, timeout_s):
                return False
            self._model.close()
            return True

    @contextmanager
    def _turn(self) -> Iterator[None]:
        with self._changed:
            self._wait(lambda: not self._running)
            self._running = True
        try:
            yield
        finally:
            with self._changed:
                self._running = False
                self._changed.notify_all()

    def _wait(self, ready: Callable[[], bool]) -> None:
        """Wait, while holding the lock, until it is `ready`."""
        with self._changed:
            came = self._changed.wait_for(lambda: self._refusing or ready(), self._timeout_s)
            if self._refusing:
                raise NotReady("the server is shutting down; the request did not run")
            if not came:
                raise DeadlineExceeded(
                    f"the model was busy for {self._timeout_s:g} s; the request did not run",
                    timeout_s=self._timeout_s,
                )

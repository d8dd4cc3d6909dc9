"""Between many requests and one model: who may wait, for how long, and whose turn it is."""

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from maskrcnn_server.backend import Image, Model, ModelMetadata, PredictOptions
from maskrcnn_server.detections import Detections
from maskrcnn_server.errors import BackendFailed, DeadlineExceeded, MaskRCNNError, QueueFull


class Engine:
    """Runs a model for requests from many threads, one at a time.

    `max_waiting` requests may wait for their turn, each `timeout_s` seconds at most.
    """

    def __init__(self, model: Model, *, max_waiting: int, timeout_s: float) -> None:
        self._model = model
        self._max_waiting = max_waiting
        self._timeout_s = timeout_s
        self._turn = threading.Lock()
        self._counter = threading.Lock()
        self._admitted = 0

    @property
    def metadata(self) -> ModelMetadata:
        return self._model.metadata

    def predict(self, images: Sequence[Image], options: PredictOptions) -> list[Detections]:
        """Detections of each image.

        Raises QueueFull at once, DeadlineExceeded when the turn did not come in time, and
        BackendFailed when the model raised anything but an error of ours.
        """
        with self._admission(), self._in_turn():
            try:
                found = self._model.predict(images, options)
            except MaskRCNNError:
                raise
            except Exception as error:
                raise BackendFailed("the backend failed on this request") from error
        if len(found) != len(images):
            raise BackendFailed(f"the backend gave {len(found)} answers for {len(images)} images")
        return found

    def close(self) -> None:
        """Close the model, after the request that is running."""
        with self._turn:
            self._model.close()

    @contextmanager
    def _admission(self) -> Iterator[None]:
        with self._counter:
            if self._admitted > self._max_waiting:
                raise QueueFull(
                    f"{self._max_waiting} requests are waiting already; try again in a second",
                    max_waiting=self._max_waiting,
                )
            self._admitted += 1
        try:
            yield
        finally:
            with self._counter:
                self._admitted -= 1

    @contextmanager
    def _in_turn(self) -> Iterator[None]:
        start = time.monotonic()
        if not self._turn.acquire(timeout=self._timeout_s):
            raise DeadlineExceeded(
                f"the model was busy for {self._timeout_s:g} s; the request did not run",
                waited_s=round(time.monotonic() - start, 3),
            )
        try:
            yield
        finally:
            self._turn.release()

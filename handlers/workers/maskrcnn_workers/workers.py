"""A model in several processes, each with a device of its own, which compute at the same time."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING

from maskrcnn_server.errors import ModelFailed, redacted

if TYPE_CHECKING:
    from maskrcnn_server.backend import Image, ModelMetadata, PredictOptions
    from maskrcnn_server.detections import Detections
    from maskrcnn_server.rle import Size
    from maskrcnn_workers.isolated import IsolatedModel


class Workers:
    """A model in several processes, each of which one of `starts` begins.

    Each process restarts by itself when it ends, while the others compute.
    """

    def __init__(self, starts: Sequence[Callable[[], IsolatedModel]]) -> None:
        """Raises what `IsolatedModel` raises, for the first process that does not load it."""
        with ThreadPoolExecutor(len(starts)) as pool:
            started = [pool.submit(start) for start in starts]
        if any(each.exception() for each in started):
            for each in started:
                if each.exception() is None:
                    each.result().close()
        self._workers = [each.result() for each in started]
        self._idle = deque(self._workers)
        """Workers that compute nothing, the one that has been idle for longest first."""
        self._changed = threading.Condition()

    @property
    def metadata(self) -> ModelMetadata:
        first = self._workers[0].metadata
        devices = ", ".join(dict.fromkeys(map(_device, self._workers)))
        more = {"device": devices, "workers": str(len(self._workers))}
        return replace(first, facts={**first.facts, **more})

    @property
    def max_calls(self) -> int:
        return len(self._workers)

    @property
    def capacity(self) -> int:
        return sum(_state(worker)[0] == "ready" for worker in self._workers)

    def workers(self) -> list[dict[str, str]]:
        """Device and state of each worker, and the reason if it failed."""
        described = []
        for worker in self._workers:
            state, reason = _state(worker)
            known = {"device": _device(worker), "status": state}
            described.append(known | ({"reason": redacted(reason)} if reason else {}))
        return described

    @property
    def batch_pixels(self) -> int:
        return self._workers[0].batch_pixels

    @property
    def restarts(self) -> int:
        return sum(worker.restarts for worker in self._workers)

    def network_shape(self, size: Size, /) -> Size:
        return next(filter(_is_up, self._workers), self._workers[0]).network_shape(size)

    def is_up(self) -> bool:
        failures = 0
        for worker in self._workers:
            try:
                if worker.is_up():
                    return True
            except ModelFailed:
                failures += 1
                if failures == len(self._workers):
                    raise
        return False

    def tell(self, changed: Callable[[], None]) -> None:
        for worker in self._workers:
            worker.tell(changed)

    def predict(self, images: Sequence[Image], options: PredictOptions, /) -> list[Detections]:
        """Detections of each image, from a worker that computes nothing else. Waits for one."""
        with self._changed:
            self._changed.wait_for(lambda: self._idle)
            worker = next(filter(_is_up, self._idle), self._idle[0])
            self._idle.remove(worker)
        try:
            return worker.predict(images, options)
        finally:
            with self._changed:
                self._idle.append(worker)
                self._changed.notify()

    def close(self) -> None:
        for worker in self._workers:
            worker.close()


def _state(worker: IsolatedModel) -> tuple[str, str]:
    """State of a worker, and the reason if it failed."""
    try:
        return "ready" if worker.is_up() else "restarting", ""
    except ModelFailed as error:
        return "failed", error.message


def _is_up(worker: IsolatedModel) -> bool:
    return _state(worker)[0] == "ready"


def _device(worker: IsolatedModel) -> str:
    return worker.metadata.facts.get("device", "unknown")

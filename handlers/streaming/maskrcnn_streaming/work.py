"""The work on a streamed request, in threads: each entry as soon as it is done."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING
from weakref import WeakSet

from maskrcnn_handlers.answer.reply import failed
from maskrcnn_handlers.observe import request_ids
from maskrcnn_server.errors import CallerGone, MaskRCNNError, RequestError
from maskrcnn_server.hosting.job import Caller
from maskrcnn_server.stopwatch import Stopwatch, listen, stage
from maskrcnn_streaming import entries

if TYPE_CHECKING:
    from concurrent.futures import Future

    from maskrcnn_handlers.answer.answering import Inference
    from maskrcnn_handlers.request.requests import Encoded, InferenceRequest
    from maskrcnn_streaming.entries import Entry
    from maskrcnn_tiles.answering import Cutter

MAX_UNSENT = 4
"""Number of entries in memory, at most, that are not sent yet. Then the work waits."""
POLL_S = 0.2
"""Seconds between two looks at whether the client is still there."""


class Work:
    """The entries of a request's images, which threads put into `entries`.

    Made in the event loop; `start` it, take from `entries` until None, call `sent` after each, and
    `stop` at last.
    """

    def __init__(
        self, request: InferenceRequest, inference: Inference, cutter: Cutter, timeout_s: float
    ) -> None:
        self.request = request
        self._inference = inference
        self._cutter = cutter
        self._timeout_s = timeout_s
        self._loop = asyncio.get_running_loop()
        self.entries: asyncio.Queue[Entry | None] = asyncio.Queue()
        self._places = threading.Semaphore(MAX_UNSENT)
        self._stopped = threading.Event()
        self._lock = threading.Lock()
        self._callers: WeakSet[Caller] = WeakSet()
        self.heard = Stopwatch()
        """Stages of all images."""
        self.failed = 0
        """Number of images with an error."""
        at_once = min(len(request.images), inference.scheduler.max_admitted)
        self._pool = ThreadPoolExecutor(at_once, "streamed")
        self._running: list[Future[None]] = []
        self._left = len(request.images)
        self._request_id = request_ids.current()

    def start(self) -> None:
        """Begin with every image."""
        for index, image in enumerate(self.request.images):
            self._running.append(self._pool.submit(self._one, index, image))

    def sent(self) -> None:
        """Note that an entry has left memory."""
        self._places.release()

    def stop(self) -> None:
        """Start nothing more. A call of the model that runs goes on, and nobody gets its result."""
        self._stopped.set()
        with self._lock:
            callers = list(self._callers)
        for caller in callers:
            caller.leave()
        self._pool.shutdown(wait=False, cancel_futures=True)

    async def ended(self, limit_s: float) -> None:
        """Wait until no thread has an image any more, but not longer than `limit_s` seconds."""
        left = [asyncio.wrap_future(one) for one in self._running if not one.done()]
        if left:
            await asyncio.wait(left, timeout=limit_s)

    def _one(self, index: int, image: Encoded | RequestError) -> None:
        """Put the entries of one image."""
        with request_ids.assigned(self._request_id), listen() as stopwatch:
            try:
                if isinstance(image, RequestError):
                    raise image
                if self._inference.options.tiles is None:
                    self._put(self._alone(index, image))
                else:
                    self._in_tiles(index, image)
            except CallerGone:
                pass
            except Exception as error:
                known = error if isinstance(error, MaskRCNNError) else failed(error)
                self._put(entries.failure(index, known))
        with self._lock:
            self.heard.hear(stopwatch)
            self._left -= 1
            is_last = not self._left
        if is_last:
            self._loop.call_soon_threadsafe(self.entries.put_nowait, None)

    def _alone(self, index: int, image: Encoded) -> Entry:
        prediction = self._inference.detect(image, self._caller())
        body = self._inference.written(prediction).body
        return entries.prediction(index, prediction.detections.size, body)

    def _in_tiles(self, index: int, image: Encoded) -> None:
        for tiled in self._cutter.each(self._inference, image, self._caller):
            with stage("encode"):
                body = self._inference.format.render(tiled.prediction)
            self._put(entries.tile(index, tiled, body))

    def _caller(self) -> Caller:
        """The client, as one image or tile waits for it. Raises CallerGone."""
        caller = Caller(self._timeout_s)
        with self._lock:
            self._callers.add(caller)
        if self._stopped.is_set():
            raise CallerGone("the client has gone")
        return caller

    def _put(self, entry: Entry) -> None:
        """Wait for a place, and put an entry there. Raises CallerGone."""
        while not self._places.acquire(timeout=POLL_S):
            if self._stopped.is_set():
                raise CallerGone("the client has gone")
        if entry.error is not None:
            with self._lock:
                self.failed += 1
        self._loop.call_soon_threadsafe(self.entries.put_nowait, entry)

"""Requests whose images are to be cut: from an image's bytes to what its tiles show."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib.util import find_spec
from itertools import chain
from typing import TYPE_CHECKING, NamedTuple
from weakref import WeakKeyDictionary

import numpy as np

from maskrcnn_handlers.observe import request_ids
from maskrcnn_handlers.request import images
from maskrcnn_handlers.request.options import UNLIMITED
from maskrcnn_server.errors import (
    CallerGone,
    DeadlineExceeded,
    InvalidImage,
    InvalidSetting,
    NotAcceptable,
    NotReady,
    QueueFull,
    RequestError,
)
from maskrcnn_server.formats import NeedsPixels, Prediction
from maskrcnn_server.stopwatch import Lap, Stopwatch, listen, stage
from maskrcnn_tiles.predicting import DEFAULT_OVERLAP, FLOOR, Step, Tiling, detections, side, steps
from maskrcnn_tiles.settings import TileSettings, read, variable
from maskrcnn_tiles.windows import MISSING, TIFF, Decoded, driver_of_bytes, raster_in_memory

if TYPE_CHECKING:
    from collections.abc import Sequence

    from starlette.routing import BaseRoute

    from maskrcnn_handlers.answer.answering import Inference
    from maskrcnn_handlers.http.host import Host
    from maskrcnn_handlers.request.requests import Encoded
    from maskrcnn_handlers.service import Service
    from maskrcnn_server.backend import Image
    from maskrcnn_server.detections import Detections
    from maskrcnn_server.hosting.job import Caller
    from maskrcnn_server.rle import Size
    from maskrcnn_tiles.instances import Instance
    from maskrcnn_tiles.windows import Windows

AGAIN_S = 0.05
"""Seconds after which a tile that found the queue full tries again."""
POLL_S = 0.2
"""Seconds between two looks at whether an image is still to wait for its place."""
UNSEEN = np.zeros((1, 1, 3), np.uint8)


class TileRequests:
    """No routes; requests may have the options of tiles."""

    name = "tiles"

    def routes(self, host: Host, /) -> Sequence[BaseRoute]:
        host.service.cut = cutter(host.service).predict
        return []


class Tiled(NamedTuple):
    """A tile of a request's image that is done."""

    step: Step
    prediction: Prediction
    """Instances that the step settled, in the whole image."""


@dataclass(frozen=True)
class Cutter:
    """Cuts the images of requests, `settings.images_at_once` of them at a time."""

    settings: TileSettings
    places: threading.Semaphore

    def predict(self, inference: Inference, image: Encoded, caller: Caller) -> Prediction:
        """The instances in an image, found before the caller's deadline.

        Raises MaskRCNNError: DeadlineExceeded if that is too early.
        """
        found: list[Instance] = []
        with self._windows(inference, image, caller) as windows:
            try:
                for step in self._steps(inference, windows, lambda: caller):
                    found += step.settled
            except DeadlineExceeded as error:
                raise DeadlineExceeded(
                    f"the tiles take longer than {caller.timeout_s:g} s; ask for a streamed reply, "
                    "which has no such limit, or for larger tiles",
                    **error.detail,
                ) from error
            return _prediction(inference, image, found, windows)

    def each(
        self, inference: Inference, image: Encoded, caller: Callable[[], Caller]
    ) -> Iterator[Tiled]:
        """Each tile with the instances that are settled by then; `caller` makes one for each.

        All instances: the best are not known before the end. Raises MaskRCNNError.
        """
        unlimited = inference.options._replace(max_detections=UNLIMITED)
        inference = inference._replace(options=unlimited)
        with self._windows(inference, image, caller()) as windows:
            for step in self._steps(inference, windows, caller):
                yield Tiled(step, _prediction(inference, image, step.settled, windows))

    @contextmanager
    def _windows(self, inference: Inference, image: Encoded, caller: Caller) -> Iterator[Windows]:
        """The image, read in parts if it can be, which takes one of the places."""
        while not self.places.acquire(timeout=POLL_S):
            if caller.is_gone:
                raise CallerGone("the client has gone; the request did not run")
            if inference.scheduler.is_ending:
                raise NotReady("the server is shutting down; the request did not run")
            if time.monotonic() > caller.deadline:
                raise DeadlineExceeded(
                    f"other images were in tiles for {caller.timeout_s:g} s; this one did not run",
                    timeout_s=caller.timeout_s,
                )
        try:
            limit = self.settings.max_image_pixels
            if limit is not None and driver_of_bytes(image.data[:12]) == TIFF:
                with raster_in_memory(image.data) as opened:
                    _check(opened.size, limit)
                    yield opened
                return
            with stage("decode"):
                decoded = Decoded(images.decode(image.data, inference.max_image_pixels))
            yield decoded
        finally:
            self.places.release()

    def _steps(
        self, inference: Inference, windows: Windows, caller: Callable[[], Caller]
    ) -> Iterator[Step]:
        options = inference.options
        if options.tiles is None:
            raise ValueError("a request without tiles is not cut")
        if options.predict.proposals:
            raise RequestError("rpn: tiles have no proposals of the whole image", field="rpn")
        tile, overlap, overview = options.tiles
        share = DEFAULT_OVERLAP if overlap is None else overlap
        tiling = Tiling(side(tile), share, overview=overview)
        score_threshold = min(FLOOR, options.predict.score_threshold)
        limit = inference.scheduler.metadata.max_detections
        asked = replace(
            options.predict, score_threshold=score_threshold, masks=True, max_detections=limit
        )

        request_id = request_ids.current()
        done: list[Stopwatch] = []

        def see(pixels: Image) -> Detections:
            """What a tile shows; runs in a thread of its own."""
            with request_ids.assigned(request_id), listen() as stopwatch:
                done.append(stopwatch)
                return found_in(pixels)

        def found_in(pixels: Image) -> Detections:
            while True:
                try:
                    mine = caller()
                    with inference.scheduler.job(mine) as job:
                        (found,) = job.predict([pixels], asked)
                    return found
                except QueueFull:
                    if time.monotonic() > mine.deadline or mine.is_gone:
                        raise
                    time.sleep(AGAIN_S)

        at_once = inference.scheduler.max_admitted
        try:
            yield from steps(windows, tiling, see, at_once, self.settings.max_tiles)
        finally:
            with listen() as heard:
                heard.hear(_together(done))


_cutters: WeakKeyDictionary[Service, Cutter] = WeakKeyDictionary()


def cutter(service: Service) -> Cutter:
    """The one cutter of a service, as the settings say. Raises InvalidSetting."""
    if service not in _cutters:
        settings = read()
        if settings.max_image_pixels is not None and find_spec("rasterio") is None:
            raise InvalidSetting(f"{variable('max_image_pixels')}: {MISSING}")
        places = threading.BoundedSemaphore(settings.images_at_once)
        _cutters[service] = Cutter(settings, places)
    return _cutters[service]


def _together(stopwatches: Sequence[Stopwatch]) -> Stopwatch:
    """One lap for each stage of all tiles, from its first begin to its last end."""
    laps: dict[str, Lap] = {}
    for lap in chain.from_iterable(each.laps for each in stopwatches):
        name, start, end, own = laps.get(lap.stage, lap._replace(own=0.0))
        laps[name] = Lap(name, min(start, lap.start), max(end, lap.end), own + lap.own)
    together = Stopwatch()
    together.laps += laps.values()
    return together


def _check(size: Size, limit: int) -> None:
    if size[0] * size[1] > limit:
        raise InvalidImage(f"{size[1]} x {size[0]} pixels are more than {limit}, the largest image")


def _prediction(
    inference: Inference, image: Encoded, found: Sequence[Instance], windows: Windows
) -> Prediction:
    """Instances in the whole image, as the request wants them."""
    predict, category_ids, max_detections, rle, _ = inference.options
    if isinstance(windows, Decoded):
        pixels = windows.pixels
    elif isinstance(inference.format, NeedsPixels) and inference.format.needs_pixels:
        raise NotAcceptable(f"format {inference.format.name} needs the whole image")
    else:
        pixels = np.broadcast_to(UNSEEN, (*windows.size, 3))
    together = detections(found, windows.size, predict.score_threshold)
    wanted = set(together.category_ids.tolist()) if category_ids is None else category_ids
    together = together.of_categories(wanted, max_detections)
    if not predict.masks:
        together = replace(together, masks=None)
    return Prediction(
        image_id=image.image_id,
        image=pixels,
        detections=together,
        model=inference.scheduler.metadata,
        rle=rle,
    )

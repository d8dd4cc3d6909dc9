"""The work on a request that is understood: from its images to its answer."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from maskrcnn_handlers.answer.reply import JSON, Reply, described, failed
from maskrcnn_handlers.observe import request_ids
from maskrcnn_handlers.request import images
from maskrcnn_handlers.request.envelope import ATTRIBUTES
from maskrcnn_handlers.request.requests import LINES
from maskrcnn_server.errors import (
    MaskRCNNError,
    NotAcceptable,
    RequestError,
    UnavailableError,
)
from maskrcnn_server.formats import Prediction, WritesRuns
from maskrcnn_server.stopwatch import listen, stage

if TYPE_CHECKING:
    from maskrcnn_handlers.request.options import ResolvedOptions
    from maskrcnn_handlers.request.requests import Encoded, InferenceRequest
    from maskrcnn_server.formats import Format
    from maskrcnn_server.hosting.job import Caller, Job
    from maskrcnn_server.hosting.scheduler import Scheduler
    from maskrcnn_server.rle import Size
    from maskrcnn_server.stopwatch import Stopwatch


class Place(ExitStack):
    """A place among the requests that may have an image in memory, until it is closed."""

    def __init__(self, scheduler: Scheduler, caller: Caller) -> None:
        """Waits for the place. Raises what `Scheduler.job` raises."""
        super().__init__()
        with stage("wait"):
            self.job = self.enter_context(scheduler.job(caller))


class Written(NamedTuple):
    """The detections in one image, as its format writes them."""

    body: bytes
    size: Size
    """Height and width of the image."""


@dataclass(frozen=True)
class Inference:
    """How each image of a request is answered: by which model, options and format.

    Raises RequestError on construction if the format cannot give what is asked for.
    """

    scheduler: Scheduler
    options: ResolvedOptions
    format: Format
    max_image_pixels: int

    def __post_init__(self) -> None:
        rle = self.options.rle
        if rle is None:
            return
        encodings = self.format.encodings if isinstance(self.format, WritesRuns) else ()
        if rle not in encodings:
            allowed = " or ".join(encodings) or "no run lengths"
            raise RequestError(
                f"rle: format {self.format.name} writes {allowed}, not {rle}", field="rle"
            )

    def reply(self, request: InferenceRequest, place: Place, caller: Caller) -> Reply:
        """The reply to a request that has a place.

        That to several images is `{"predictions": [...]}`, or lines of JSON to lines of JSON, with
        an error in the place of an image that failed. Raises the error of a single image, or of
        several if all are unavailable.
        """
        several = request.layout != "single"
        if several and not is_json(self.format):
            raise NotAcceptable(
                f"format {self.format.name} answers one image; for several, ask for one in JSON"
            )
        if len(request.images) == 1:
            outcomes = [self._outcome(request.images[0], place, caller)]
        else:
            place.close()
            outcomes = self._outcomes(request, caller)
        first = outcomes[0]
        if isinstance(first, MaskRCNNError) and (
            not several or all(isinstance(one, UnavailableError) for one in outcomes)
        ):
            raise first
        if isinstance(first, Written) and not several:
            height, width = first.size
            size = {ATTRIBUTES: f"height={height};width={width}"}
            return Reply(200, first.body, self.format.media_type, size)
        entries = [
            one.body if isinstance(one, Written) else json.dumps({"error": described(one)}).encode()
            for one in outcomes
        ]
        if request.layout == "lines":
            return Reply(200, b"".join(entry + b"\n" for entry in entries), LINES[0])
        return Reply(200, b'{"predictions":[' + b",".join(entries) + b"]}")

    def _outcomes(self, request: InferenceRequest, caller: Caller) -> list[Written | MaskRCNNError]:
        """Outcomes of several images, each of which waits for a place as if it came alone."""
        request_id = request_ids.current()

        def outcome(image: Encoded | RequestError) -> tuple[Written | MaskRCNNError, Stopwatch]:
            with request_ids.assigned(request_id), listen() as stopwatch:
                return self._outcome(image, None, caller), stopwatch

        outcomes = []
        with listen() as heard, ThreadPoolExecutor(self.scheduler.max_admitted) as pool:
            for one, stopwatch in pool.map(outcome, request.images):
                heard.hear(stopwatch)
                outcomes.append(one)
        return outcomes

    def _outcome(
        self, image: Encoded | RequestError, place: Place | None, caller: Caller
    ) -> Written | MaskRCNNError:
        """Detections in one image, or the error. Closes the place after the model's part; without
        one, waits for one."""
        try:
            with place or Place(self.scheduler, caller) as mine:
                prediction = self._predicted(image, mine.job)
            with stage("encode"):
                return Written(self.format.render(prediction), prediction.detections.size)
        except MaskRCNNError as error:
            return error
        except Exception as error:
            return failed(error)

    def _predicted(self, image: Encoded | RequestError, job: Job) -> Prediction:
        if isinstance(image, RequestError):
            raise image
        with stage("decode"):
            pixels = images.decode(image.data, self.max_image_pixels)
        predict, category_ids, max_detections, rle = self.options
        with stage("wait"):
            (detections,) = job.predict([pixels], predict)
        if category_ids is not None:
            detections = detections.of_categories(category_ids, max_detections)
        return Prediction(
            image_id=image.image_id,
            image=pixels,
            detections=detections,
            model=self.scheduler.metadata,
            rle=rle,
        )


def is_json(form: Format) -> bool:
    """Whether its answers may stand in a list."""
    return form.media_type == JSON or form.media_type.endswith("+json")

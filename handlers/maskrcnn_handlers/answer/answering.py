"""The work on a request that is understood: from its images to its reply."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from maskrcnn_handlers.answer.reply import JSON, Reply, described, failed
from maskrcnn_handlers.observe import request_ids
from maskrcnn_handlers.request import images
from maskrcnn_handlers.request.envelope import ATTRIBUTES
from maskrcnn_handlers.request.requests import LINES
from maskrcnn_server.errors import MaskRCNNError, NotAcceptable, RequestError, UnavailableError
from maskrcnn_server.formats import Prediction, WritesRuns
from maskrcnn_server.stopwatch import Stopwatch, listen, stage

if TYPE_CHECKING:
    from collections.abc import Callable

    from maskrcnn_handlers.request.options import ResolvedOptions
    from maskrcnn_handlers.request.requests import Encoded, InferenceRequest, Layout
    from maskrcnn_server.formats import Encoding, Format
    from maskrcnn_server.hosting.job import Caller, Job
    from maskrcnn_server.hosting.scheduler import Scheduler

Cut: TypeAlias = "Callable[[Inference, Encoded, Caller], Prediction]"
"""Function that finds the instances in an image tile by tile."""


class Inference(NamedTuple):
    """How each image of a request is answered: by which model, options and format."""

    scheduler: Scheduler
    options: ResolvedOptions
    format: Format
    max_image_pixels: int
    cut: Cut

    def detect(self, image: Encoded | RequestError, caller: Caller) -> Prediction:
        """The instances in an image, which waits for its turn by itself. Raises MaskRCNNError."""
        if self.options.tiles is not None:
            if isinstance(image, RequestError):
                raise image
            return self.cut(self, image, caller)
        with self.scheduler.job(caller) as job:
            return self.predict(image, job)

    def predict(self, image: Encoded | RequestError, job: Job) -> Prediction:
        """The instances in an image, which takes a job. Raises MaskRCNNError."""
        if isinstance(image, RequestError):
            raise image
        with stage("decode"):
            pixels = images.decode(image.data, self.max_image_pixels)
        predict, category_ids, max_detections, rle, _ = self.options
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

    def written(self, prediction: Prediction) -> Reply:
        """The reply to one image."""
        with stage("encode"):
            body = self.format.render(prediction)
        height, width = prediction.detections.size
        size = {ATTRIBUTES: f"height={height};width={width}"}
        return Reply(200, body, self.format.media_type, size)

    def several(self, request: InferenceRequest, caller: Caller) -> Reply:
        """The reply to a list of images: `{"predictions": [...]}`, or lines of JSON to lines.

        Each image waits for its turn as if it had come alone. An error stands in the place of an
        image that failed; if all are unavailable, the first one's is raised.
        """
        request_id = request_ids.current()

        def outcome(image: Encoded | RequestError) -> tuple[bytes | MaskRCNNError, Stopwatch]:
            with request_ids.assigned(request_id), listen() as stopwatch:
                try:
                    return self.written(self.detect(image, caller)).body, stopwatch
                except MaskRCNNError as error:
                    return error, stopwatch
                except Exception as error:
                    return failed(error), stopwatch

        outcomes = []
        with listen() as heard, ThreadPoolExecutor(self.scheduler.max_admitted) as pool:
            for one, stopwatch in pool.map(outcome, request.images):
                heard.hear(stopwatch)
                outcomes.append(one)
        first = outcomes[0]
        if isinstance(first, MaskRCNNError) and all(
            isinstance(one, UnavailableError) for one in outcomes
        ):
            raise first
        entries = [
            one if isinstance(one, bytes) else json.dumps({"error": described(one)}).encode()
            for one in outcomes
        ]
        if request.layout == "lines":
            return Reply(200, b"".join(entry + b"\n" for entry in entries), LINES[0])
        return Reply(200, b'{"predictions":[' + b",".join(entries) + b"]}")


def uncut(*_: object) -> Prediction:
    """Refuse to cut an image, where no plugin can. Raises RequestError."""
    raise RequestError("tile: this server cuts no images: maskrcnn-tiles is not installed there")


def check_format(form: Format, rle: Encoding | None, layout: Layout) -> None:
    """Raise RequestError or NotAcceptable if a format cannot write what a request asks for."""
    encodings = form.encodings if isinstance(form, WritesRuns) else ()
    if rle is not None and rle not in encodings:
        allowed = " or ".join(encodings) or "no run lengths"
        raise RequestError(f"rle: format {form.name} writes {allowed}, not {rle}", field="rle")
    if layout != "single" and not is_json(form):
        raise NotAcceptable(
            f"format {form.name} answers one image; for several, ask for one in JSON"
        )


def is_json(form: Format) -> bool:
    """Whether its replies may stand in a list."""
    return form.media_type == JSON or form.media_type.endswith("+json")

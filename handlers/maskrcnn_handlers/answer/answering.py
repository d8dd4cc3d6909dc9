"""The work on a request that is understood: its images, one by one, to its answer."""

import json
import logging
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import NamedTuple

from maskrcnn_handlers.answer.status import status_of
from maskrcnn_handlers.observe import request_ids
from maskrcnn_handlers.request import classes, images
from maskrcnn_handlers.request.requests import JSON, Encoded, InferenceRequest
from maskrcnn_server.backend import Image
from maskrcnn_server.errors import (
    BackendFailed,
    MaskRCNNError,
    NotAcceptable,
    RequestError,
    UnavailableError,
)
from maskrcnn_server.formats import Format, Prediction, WritesRuns
from maskrcnn_server.hosting.caller import Caller
from maskrcnn_server.hosting.job import Job
from maskrcnn_server.hosting.scheduler import Scheduler
from maskrcnn_server.stopwatch import Stopwatch, listen, stage

logger = logging.getLogger(__name__)


class Decoded(NamedTuple):
    """An image as the model takes it."""

    image_id: str | int
    image: Image


@dataclass(frozen=True)
class Question:
    """What a request asks of which model, and how the answer is written.

    Raises RequestError on construction if the model or the format cannot give what is asked for.
    """

    scheduler: Scheduler
    request: InferenceRequest
    format: Format
    max_image_pixels: int

    def __post_init__(self) -> None:
        self._classes()
        name, rle = self.format.name, self.request.rle
        encodings = self.format.encodings if isinstance(self.format, WritesRuns) else ()
        if rle is not None and rle not in encodings:
            allowed = " or ".join(encodings) or "no run lengths"
            raise RequestError(f"rle: format {name} writes {allowed}, not {rle}", field="rle")
        if self.request.several and not is_json(self.format):
            raise NotAcceptable(
                f"format {name} answers one image; for several, one that is JSON is needed"
            )

    def decoded(self, encoded: Encoded | RequestError) -> Decoded:
        """An image, in memory only as long as the request has a job (`Scheduler.job`)."""
        if isinstance(encoded, RequestError):
            raise encoded
        return Decoded(encoded.image_id, images.decode(encoded.data, self.max_image_pixels))

    def predicted(self, decoded: Decoded, job: Job) -> Prediction:
        """What is in an image, by the same job."""
        image_id, image = decoded
        options, chosen = self.request.options, self._classes()
        # The model's best, of which some are left out, would be too few.
        asked = options if chosen is None else replace(options, max_detections=None)
        with stage("wait"):
            (found,) = job.predict([image], asked)
        if chosen is not None:
            found = found.of_categories(chosen, options.max_detections)
        return Prediction(
            image_id=image_id,
            image=image,
            detections=found,
            model=self.scheduler.metadata,
            rle=self.request.rle,
        )

    def written(self, prediction: Prediction) -> bytes:
        """The answer for one image."""
        with stage("encode"):
            return self.format.render(prediction)

    def answers(self, caller: Caller) -> bytes:
        """Those for several images: `{"predictions": [...]}`, with what went wrong in its place.

        Each has a job of its own, as if it had come alone. Raises what went wrong if that
        kept all of them from being looked at now.
        """
        request_id = request_ids.current()

        def answer(encoded: Encoded | RequestError) -> tuple[bytes | MaskRCNNError, Stopwatch]:
            with request_ids.assigned(request_id), listen() as stopwatch:
                return self._answer(encoded, caller), stopwatch

        found = []
        with listen() as heard, ThreadPoolExecutor(self.scheduler.max_admitted) as pool:
            for one, stopwatch in pool.map(answer, self.request.images):
                heard.hear(stopwatch)
                found.append(one)
        unavailable = [one for one in found if isinstance(one, UnavailableError)]
        if len(unavailable) == len(found):
            raise unavailable[0]
        entries = [
            json.dumps({"error": described(one)}).encode() if isinstance(one, Exception) else one
            for one in found
        ]
        return b'{"predictions":[' + b",".join(entries) + b"]}"

    def _answer(self, encoded: Encoded | RequestError, caller: Caller) -> bytes | MaskRCNNError:
        try:
            with ExitStack() as images_in_memory:
                with stage("wait"):
                    job = images_in_memory.enter_context(self.scheduler.job(caller))
                with stage("decode"):
                    decoded = self.decoded(encoded)
                prediction = self.predicted(decoded, job)
            return self.written(prediction)
        except MaskRCNNError as error:
            return error
        except Exception as error:
            return failed(error)

    def _classes(self) -> frozenset[int] | None:
        wanted = self.request.classes
        return None if wanted is None else classes.ids(wanted, self.scheduler.metadata.categories)


def is_json(form: Format) -> bool:
    """Whether its answers may stand in a list."""
    return form.media_type == JSON or form.media_type.endswith("+json")


def failed(cause: Exception) -> BackendFailed:
    """The error that a client is told of for one that is none of ours."""
    failure = BackendFailed("the server failed on this request")
    failure.__cause__ = cause
    return failure


def described(error: MaskRCNNError) -> dict[str, object]:
    """An error as clients read it; a fault of ours goes to the log as well."""
    if status_of(error) == 500:
        logger.error("request %s failed", request_ids.current(), exc_info=error)
    return {"code": error.code, "message": error.message, "detail": error.detail}

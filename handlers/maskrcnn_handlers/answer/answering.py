"""The work on a request that is understood: from its images to its answer."""

import json
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass

from maskrcnn_handlers.answer.reply import JSON, described, failed
from maskrcnn_handlers.observe import request_ids
from maskrcnn_handlers.request import images
from maskrcnn_handlers.request.options import ResolvedOptions
from maskrcnn_handlers.request.requests import Encoded, InferenceRequest
from maskrcnn_server.errors import (
    MaskRCNNError,
    NotAcceptable,
    RequestError,
    UnavailableError,
)
from maskrcnn_server.formats import Format, Prediction, WritesRuns
from maskrcnn_server.hosting.caller import Caller
from maskrcnn_server.hosting.scheduler import Scheduler
from maskrcnn_server.stopwatch import Stopwatch, listen, stage


def admitted(scheduler: Scheduler, caller: Caller) -> ExitStack:
    """The caller's turn at the model, once it has come; to be closed."""
    turn = ExitStack()
    with stage("wait"):
        turn.enter_context(scheduler.admission(caller))
    return turn


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

    def answer(self, request: InferenceRequest, turn: ExitStack, caller: Caller) -> bytes:
        """The body of the reply to a request that has its turn.

        That of several images is `{"predictions": [...]}`, with an error in the place of an image
        that cannot be answered. Raises the error of the one image, or of several if all of them are
        unavailable.
        """
        if request.several and not is_json(self.format):
            raise NotAcceptable(
                f"format {self.format.name} answers one image; for several, ask for one in JSON"
            )
        if len(request.images) == 1:
            answers = [self._outcome(request.images[0], turn, caller)]
        else:
            turn.close()
            answers = self._outcomes(request, caller)
        if not request.several or all(isinstance(one, UnavailableError) for one in answers):
            first = answers[0]
            if isinstance(first, MaskRCNNError):
                raise first
            return first
        entries = [
            one if isinstance(one, bytes) else json.dumps({"error": described(one)}).encode()
            for one in answers
        ]
        return b'{"predictions":[' + b",".join(entries) + b"]}"

    def _outcomes(self, request: InferenceRequest, caller: Caller) -> list[bytes | MaskRCNNError]:
        """The answers for several images, each of which waits for its turn as if it came alone."""
        request_id = request_ids.current()

        def outcome(
            image: Encoded | RequestError, caller: Caller
        ) -> tuple[bytes | MaskRCNNError, Stopwatch]:
            with request_ids.assigned(request_id), listen() as stopwatch:
                return self._outcome(image, None, caller), stopwatch

        callers = _as_one(caller, len(request.images))
        answers = []
        with listen() as heard, ThreadPoolExecutor(self.scheduler.at_once) as pool:
            for answer, stopwatch in pool.map(outcome, request.images, callers):
                heard.hear(stopwatch)
                answers.append(answer)
        return answers

    def _outcome(
        self, image: Encoded | RequestError, turn: ExitStack | None, caller: Caller
    ) -> bytes | MaskRCNNError:
        """The answer for one image, or why there is none. Ends the turn after the model's part;
        without a turn, waits for one."""
        try:
            with turn or admitted(self.scheduler, caller):
                prediction = self._predicted(image, caller)
            with stage("encode"):
                return self.format.render(prediction)
        except MaskRCNNError as error:
            return error
        except Exception as error:
            return failed(error)

    def _predicted(self, image: Encoded | RequestError, caller: Caller) -> Prediction:
        if isinstance(image, RequestError):
            raise image
        with stage("decode"):
            pixels = images.decode(image.data, self.max_image_pixels)
        predict, category_ids, max_detections, rle = self.options
        with stage("wait"):
            (detections,) = self.scheduler.predict([pixels], predict, caller)
        if category_ids is not None:
            detections = detections.of(category_ids, max_detections)
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


def _as_one(caller: Caller, number: int) -> list[Caller]:
    """As many callers, who leave when this one does, and wait no longer."""
    callers = [Caller(caller.timeout_s) for _ in range(number)]
    for one in callers:
        one.deadline = caller.deadline

    def leave() -> None:
        for one in callers:
            one.leave()

    caller.wake_by(leave)
    if caller.is_gone:
        leave()
    return callers

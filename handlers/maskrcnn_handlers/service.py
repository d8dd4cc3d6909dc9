"""The heart of the handler layer: a request's bytes in, a reply's bytes out, over any transport."""

import json
import logging
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace

from maskrcnn_handlers.answer import negotiation
from maskrcnn_handlers.answer.answering import Question, described, failed
from maskrcnn_handlers.answer.status import status_of
from maskrcnn_handlers.observe import request_ids
from maskrcnn_handlers.observe.exchange import Exchange
from maskrcnn_handlers.observe.metrics import CONTENT_TYPE, Metrics
from maskrcnn_handlers.observe.tracing import Tracing
from maskrcnn_handlers.request import requests
from maskrcnn_server.errors import (
    InvalidSetting,
    MaskRCNNError,
    ModelNotFound,
    NotReady,
    PayloadTooLarge,
    UnavailableError,
)
from maskrcnn_server.formats import Format
from maskrcnn_server.hosting.caller import Caller
from maskrcnn_server.hosting.models import Models
from maskrcnn_server.hosting.scheduler import Scheduler
from maskrcnn_server.settings import ModelSettings, Settings
from maskrcnn_server.stopwatch import Lap, listen, stage

JSON = "application/json"
ENCODE_S = 10
"""For an answer to be written, generously."""
SERVER_TIMING = "Server-Timing"
ATTRIBUTES = "X-Amzn-SageMaker-Custom-Attributes"
"""Response header with the image's size, which SageMaker passes on."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Reply:
    """What a front end sends."""

    status: int
    body: bytes
    content_type: str = JSON
    headers: Mapping[str, str] = field(default_factory=dict)
    code: str = ""
    """Of the error, if it is one."""


class Service:
    """Answers requests; what it answers while it has no model is that it is not ready.

    Raises InvalidSetting if the default format is not among `formats`.
    """

    def __init__(
        self, formats: Mapping[str, Format], settings: Settings, tracing: Tracing | None = None
    ) -> None:
        if settings.model.format not in formats:
            raise InvalidSetting(
                f"MASKRCNN_FORMAT={settings.model.format}: no such format; "
                f"installed are {', '.join(formats)}"
            )
        self._formats = formats
        self._settings = settings
        self._scheduler: Scheduler | None = None
        self._models: Models | None = None
        self._metrics = Metrics(lambda: self.ping().status == 200, self._schedulers)
        self.tracing = tracing
        """Where spans of requests go; None: nowhere."""

    def start(self, scheduler: Scheduler) -> None:
        """Serve this model from now on."""
        self._scheduler = scheduler

    def host(self, models: Models) -> None:
        """Serve these models from now on, each by its name."""
        self._models = models

    def refuse_waiting(self) -> None:
        """Start no more requests; the one that runs goes on."""
        served = self._scheduler or self._models
        if served is not None:
            served.refuse_waiting()

    def close(self, timeout_s: float) -> bool:
        """Close every model after the request that runs; False if that takes longer."""
        served = self._scheduler or self._models
        closed = served is None or served.close(timeout_s)
        if self.tracing is not None:
            self.tracing.close()
        return closed

    def ping(self) -> Reply:
        """Whether requests are answered: 200, or 503 with the reason."""
        try:
            if self._models is not None:
                self._models.check()
                return json_reply(
                    200, {"status": "ready", "models": list(self._models.schedulers())}
                )
            if self._scheduler is None:
                raise NotReady("the model is loading")
            self._scheduler.is_up()
        except UnavailableError as error:
            return refusal(error)
        metadata = self._scheduler.metadata
        computed = {k: metadata.facts[k] for k in ("engine", "device") if k in metadata.facts}
        described = {"status": "ready", "model": metadata.name, "backend": metadata.backend}
        return json_reply(200, described | computed)

    def metrics(self) -> Reply:
        """What Prometheus reads. Quick, whatever the model does."""
        return Reply(200, self._metrics.text(), CONTENT_TYPE)

    def execution_parameters(self) -> Reply:
        """What batch transform asks before it starts: how to send its files."""
        settings = self._settings
        return json_reply(
            200,
            {
                "MaxConcurrentTransforms": settings.max_concurrent_transforms,
                "BatchStrategy": "SINGLE_RECORD",
                "MaxPayloadInMB": max(1, int(settings.max_payload_mb)),
            },
        )

    def invoke(
        self,
        body: bytes,
        content_type: str,
        accept: str,
        attributes: str,
        model: str | None = None,
        caller: Caller | None = None,
    ) -> Reply:
        """Answer one request. Never raises: every failure is a reply.

        `attributes` are SageMaker's custom attributes; `model` names one of several, else the
        attribute `model` does. A `caller`, by default one that stays, is made by `caller()`.
        """
        caller = caller or self.caller()
        model = model or requests.named_model(attributes)
        start = time.perf_counter()
        with request_ids.assigned(), listen() as stopwatch:
            try:
                reply = self._answer(body, content_type, accept, attributes, model, caller)
            except MaskRCNNError as error:
                reply = refusal(error)
            except Exception as error:
                reply = refusal(failed(error))
            seconds = time.perf_counter() - start
            self._tell(reply, self._name(model), seconds, stopwatch.laps, len(body))
        timing = {SERVER_TIMING: _server_timing(stopwatch.seconds, seconds)}
        return replace(reply, headers={**timing, **reply.headers})

    def refuse(self, error: MaskRCNNError) -> Reply:
        """The answer to a request that is refused before there is a body to `invoke` with."""
        with request_ids.assigned():
            reply = refusal(error)
            self._tell(reply)
        return reply

    def caller(self) -> Caller:
        """Who asks from now on, and waits as long as the settings say."""
        return Caller(self._settings.timeout_s)

    def patience_s(self, model: str | None, attributes: str) -> float:
        """Seconds after which a request is answered, even if the model never ends."""
        scheduler = self._schedulers().get(self._name(model or requests.named_model(attributes)))
        return self._settings.timeout_s + ENCODE_S + (0 if scheduler is None else scheduler.limit_s)

    def check_length(self, length: int) -> None:
        """Raise PayloadTooLarge if a body of so many bytes is not read."""
        limit = self._settings.max_payload_mb
        if length > limit * 2**20:
            raise PayloadTooLarge(f"the body is larger than {limit:g} MiB", max_payload_mb=limit)

    def _answer(
        self,
        body: bytes,
        content_type: str,
        accept: str,
        attributes: str,
        model: str | None,
        caller: Caller,
    ) -> Reply:
        self.check_length(len(body))
        scheduler = self._scheduler_of(model)
        with ExitStack() as images_in_memory:
            with stage("wait"):
                job = images_in_memory.enter_context(scheduler.job(caller))
            with stage("decode"):
                defaults = self._defaults(model)
                request = requests.parse(body, content_type, attributes, defaults)
                form = negotiation.choose(self._formats, request.format, accept, defaults.format)
                question = Question(scheduler, request, form, self._settings.max_image_pixels)
                if not request.several:
                    decoded = question.decoded(request.images[0])
            if not request.several:
                prediction = question.predicted(decoded, job)
        if request.several:
            return Reply(200, question.answers(caller))
        height, width = prediction.detections.size
        size = {ATTRIBUTES: f"height={height};width={width}"}
        return Reply(200, question.written(prediction), form.media_type, size)

    def _tell(
        self,
        reply: Reply,
        model: str = "",
        seconds: float = 0.0,
        laps: Sequence[Lap] = (),
        bytes_in: int = 0,
    ) -> None:
        """Tell the log, the metrics and the trace of a request that is answered."""
        exchange = Exchange(
            request_id=request_ids.current(),
            model=model,
            status=reply.status,
            code=reply.code,
            seconds=seconds,
            laps=laps,
            bytes_in=bytes_in,
            bytes_out=len(reply.body),
        )
        self._metrics.count(exchange)
        if self.tracing is not None:
            self.tracing.add(exchange)
        logger.info(
            "request %s: %d in %.0f ms, %d bytes in, %d out",
            exchange.request_id,
            exchange.status,
            1000 * seconds,
            bytes_in,
            exchange.bytes_out,
            extra={"fields": exchange.fields()},
        )

    def _schedulers(self) -> dict[str, Scheduler]:
        """Those of the models that are loaded, by name."""
        if self._models is not None:
            return self._models.schedulers()
        return {} if self._scheduler is None else {self._scheduler.metadata.name: self._scheduler}

    def _name(self, model: str | None) -> str:
        """Of the model that answers who asked for this one; empty if none does."""
        if self._models is not None:
            return self._models.name(model)
        names = list(self._schedulers())
        return names[0] if names and model in (None, names[0]) else ""

    def _defaults(self, model: str | None) -> ModelSettings:
        """What holds for requests that do not say otherwise."""
        own = None if self._models is None else self._models.settings(self._name(model))
        return own or self._settings.model

    def _scheduler_of(self, model: str | None) -> Scheduler:
        if self._models is None:
            if self._scheduler is None:
                raise NotReady("the model is loading")
            if model not in (None, self._scheduler.metadata.name):
                raise ModelNotFound(f"no model {model} is loaded", model_name=model)
            return self._scheduler
        return self._models.scheduler(model)


def refusal(error: MaskRCNNError) -> Reply:
    """The reply that tells a client what went wrong; a fault of ours goes to the log as well."""
    with request_ids.assigned() as request_id:
        body = described(error)
    headers = {}
    if "retry_after_s" in error.detail:
        headers["Retry-After"] = str(error.detail["retry_after_s"])
    reply = json_reply(status_of(error), {"error": body, "request_id": request_id}, headers)
    return replace(reply, code=error.code)


def _server_timing(stages: Mapping[str, float], total: float) -> str:
    """Milliseconds of each stage, and of all (https://www.w3.org/TR/server-timing/)."""
    return ", ".join(f"{name};dur={1000 * s:.3f}" for name, s in {**stages, "total": total}.items())


def json_reply(status: int, content: object, headers: Mapping[str, str] | None = None) -> Reply:
    """A reply that is JSON."""
    return Reply(status, json.dumps(content).encode(), JSON, headers or {})

"""The heart of the handler layer: a request's bytes in, a reply's bytes out, over any transport."""

import json
import logging
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace

from maskrcnn_handlers import images, negotiation, request_ids, requests
from maskrcnn_handlers.exchange import Exchange
from maskrcnn_handlers.metrics import CONTENT_TYPE, Metrics
from maskrcnn_handlers.status import status_of
from maskrcnn_handlers.tracing import Tracing
from maskrcnn_server.engine import Caller, Engine
from maskrcnn_server.errors import (
    BackendFailed,
    InvalidSetting,
    MaskRCNNError,
    ModelNotFound,
    NotReady,
    PayloadTooLarge,
    QueueFull,
)
from maskrcnn_server.formats import Format, Prediction
from maskrcnn_server.models import Models
from maskrcnn_server.settings import Settings
from maskrcnn_server.stopwatch import Lap, listen, stage

JSON = "application/json"
SERVER_TIMING = "Server-Timing"

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
        if settings.response_format not in formats:
            raise InvalidSetting(
                f"MASKRCNN_FORMAT={settings.response_format}: no such format; "
                f"installed are {', '.join(formats)}"
            )
        self._formats = formats
        self._settings = settings
        self._engine: Engine | None = None
        self._models: Models | None = None
        self._metrics = Metrics(lambda: self.ping().status == 200, self._engines)
        self.tracing = tracing
        """Where spans of requests go; None: nowhere."""

    def start(self, engine: Engine) -> None:
        """Serve this model from now on."""
        self._engine = engine

    def host(self, models: Models) -> None:
        """Serve these models from now on, each by its name."""
        self._models = models

    def refuse_waiting(self) -> None:
        """Start no more requests; the one that runs goes on."""
        served = self._engine or self._models
        if served is not None:
            served.refuse_waiting()

    def close(self, timeout_s: float) -> bool:
        """Close every model after the request that runs; False if that takes longer."""
        served = self._engine or self._models
        closed = served is None or served.close(timeout_s)
        if self.tracing is not None:
            self.tracing.close()
        return closed

    def ping(self) -> Reply:
        """Whether requests are answered: 200, or 503 with the reason."""
        if self._models is not None:
            names = [hosted.name for hosted in self._models.hosted()]
            return json_reply(200, {"status": "ready", "models": names})
        if self._engine is None:
            return refusal(NotReady("the model is loading"))
        metadata = self._engine.metadata
        described = {"status": "ready", "model": metadata.name, "backend": metadata.backend}
        return json_reply(200, described)

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

        `attributes` are SageMaker's custom attributes; `model` names one of several. A `caller`, by
        default one that stays, is made by `caller()`.
        """
        caller = caller or self.caller()
        start = time.perf_counter()
        with request_ids.assigned(), listen() as stopwatch:
            try:
                reply = self._answer(body, content_type, accept, attributes, model, caller)
            except MaskRCNNError as error:
                reply = refusal(error)
            except Exception as error:
                failure = BackendFailed("the server failed on this request")
                failure.__cause__ = error
                reply = refusal(failure)
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
        engine = self._engine_of(model)
        with ExitStack() as turn:
            with stage("wait"):
                turn.enter_context(engine.admission(caller))
            with stage("decode"):
                request = requests.parse(
                    body, content_type, attributes, self._settings.mask_threshold
                )
                form = negotiation.choose(
                    self._formats, request.format, accept, self._settings.response_format
                )
                image = images.decode(request.image, self._settings.max_image_pixels)
            with stage("wait"):
                (found,) = engine.predict([image], request.options, caller)
        with stage("encode"):
            rendered = form.render(
                Prediction(
                    image_id=request.image_id,
                    image=image,
                    detections=found,
                    model=engine.metadata,
                )
            )
        return Reply(200, rendered, form.media_type)

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

    def _engines(self) -> dict[str, Engine]:
        """Those of the models that are loaded, by name."""
        if self._models is not None:
            return {hosted.name: hosted.engine for hosted in self._models.hosted()}
        return {} if self._engine is None else {self._engine.metadata.name: self._engine}

    def _name(self, model: str | None) -> str:
        """Of the model that answers who asked for this one; empty if none does."""
        names = list(self._engines())
        if model is None:
            return names[0] if len(names) == 1 else ""
        return model if model in names else ""

    def _engine_of(self, model: str | None) -> Engine:
        if self._models is None:
            if self._engine is None:
                raise NotReady("the model is loading")
            if model not in (None, self._engine.metadata.name):
                raise ModelNotFound(f"no model {model} is loaded", model_name=model)
            return self._engine
        names = [hosted.name for hosted in self._models.hosted()]
        if model is None and len(names) != 1:
            raise ModelNotFound(
                f"{len(names)} models are loaded: invoke one by its name, /models/NAME/invoke"
            )
        return self._models.engine(names[0] if model is None else model)


def refusal(error: MaskRCNNError) -> Reply:
    """The reply that tells a client what went wrong; a fault of ours goes to the log as well."""
    status = status_of(error)
    with request_ids.assigned() as request_id:
        if status == 500:
            logger.error("request %s failed", request_id, exc_info=error)
    headers = {}
    if isinstance(error, QueueFull):
        headers["Retry-After"] = str(error.detail.get("retry_after_s", 1))
    body = {"code": error.code, "message": error.message, "detail": error.detail}
    reply = json_reply(status, {"error": body, "request_id": request_id}, headers)
    return replace(reply, code=error.code)


def _server_timing(stages: Mapping[str, float], total: float) -> str:
    """Milliseconds of each stage, and of all (https://www.w3.org/TR/server-timing/)."""
    return ", ".join(f"{name};dur={1000 * s:.3f}" for name, s in {**stages, "total": total}.items())


def json_reply(status: int, content: object, headers: Mapping[str, str] | None = None) -> Reply:
    """A reply that is JSON."""
    return Reply(status, json.dumps(content).encode(), JSON, headers or {})

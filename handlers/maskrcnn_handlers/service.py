"""The heart of the handler layer: a request's bytes in, a reply's bytes out, over any transport."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import TYPE_CHECKING

from maskrcnn_handlers.answer import negotiation
from maskrcnn_handlers.answer.answering import Inference, Place
from maskrcnn_handlers.answer.reply import Reply, failed, json_reply, refusal
from maskrcnn_handlers.observe import request_ids
from maskrcnn_handlers.observe.exchange import Exchange
from maskrcnn_handlers.observe.metrics import CONTENT_TYPE, Metrics
from maskrcnn_handlers.request import requests
from maskrcnn_handlers.request.options import resolved
from maskrcnn_server.errors import (
    InvalidSetting,
    MaskRCNNError,
    PayloadTooLarge,
    RequestError,
    UnavailableError,
)
from maskrcnn_server.hosting.caller import Caller
from maskrcnn_server.stopwatch import listen, stage

if TYPE_CHECKING:
    from maskrcnn_handlers.observe.tracing import Tracing
    from maskrcnn_handlers.request.codec import Codec
    from maskrcnn_handlers.request.envelope import Envelope
    from maskrcnn_handlers.request.requests import InferenceRequest
    from maskrcnn_server.formats import Format
    from maskrcnn_server.hosting.models import Models
    from maskrcnn_server.settings import Settings
    from maskrcnn_server.stopwatch import Lap

ENCODE_S = 10
"""Seconds in which an answer is surely written."""
SERVER_TIMING = "Server-Timing"
COMPUTED = ("engine", "device", "GPU", "driver")
"""Facts about a model that /ping tells."""

logger = logging.getLogger(__name__)


class Service:
    """Answers requests with `models`, which may still be loading.

    Raises InvalidSetting if the default format is not among `formats`.
    """

    def __init__(
        self,
        formats: Mapping[str, Format],
        settings: Settings,
        models: Models,
        tracing: Tracing | None = None,
    ) -> None:
        if settings.model.format not in formats:
            raise InvalidSetting(
                f"MASKRCNN_FORMAT={settings.model.format}: no such format; "
                f"installed are {', '.join(formats)}"
            )
        self._formats = formats
        self.settings = settings
        self._metrics = Metrics(lambda: self.ping().status == 200, models.schedulers)
        self.models = models
        self.tracing = tracing
        """Where spans of requests go; None: nowhere."""
        self.prepare: Callable[[Envelope], Envelope] = lambda envelope: envelope
        """Function of a plugin that completes each request before it waits for the model, such as
        by images at addresses. May raise RequestError."""

    def refuse_waiting(self) -> None:
        """Start no more requests; the one that runs goes on."""
        self.models.refuse_waiting()

    def close(self, timeout_s: float) -> bool:
        """Close every model after the request that runs; False if that takes longer."""
        closed = self.models.close(timeout_s)
        if self.tracing is not None:
            self.tracing.close()
        return closed

    def ping(self) -> Reply:
        """Whether requests are answered: 200, or 503 with the reason."""
        try:
            self.models.check()
        except UnavailableError as error:
            return refusal(error)
        schedulers = self.models.schedulers()
        if not self.models.is_single:
            return json_reply(200, {"status": "ready", "models": list(schedulers)})
        ((name, scheduler),) = schedulers.items()
        metadata = scheduler.metadata
        computed = {k: metadata.facts[k] for k in COMPUTED if k in metadata.facts}
        described = {"status": "ready", "model": name, "backend": metadata.backend}
        return json_reply(200, described | computed)

    def metrics(self) -> Reply:
        """What Prometheus reads. Quick, whatever the model does."""
        return Reply(200, self._metrics.text(), CONTENT_TYPE)

    def execution_parameters(self) -> Reply:
        """What batch transform asks before it starts: how to send its files."""
        settings = self.settings
        return json_reply(
            200,
            {
                "MaxConcurrentTransforms": settings.max_concurrent_transforms,
                "BatchStrategy": "SINGLE_RECORD",
                "MaxPayloadInMB": max(1, int(settings.max_payload_mb)),
            },
        )

    def invoke(
        self, envelope: Envelope, caller: Caller | None = None, codec: Codec | None = None
    ) -> Reply:
        """Answer one request. Never raises: every failure is a reply.

        A `caller`, by default one that stays, is made by `caller()`. `codec` None: the request is
        one of this server's own, and chooses its format.
        """
        start = time.perf_counter()
        with request_ids.assigned(), listen() as stopwatch:
            try:
                prepared = self.prepare(envelope) if codec is None else envelope
                reply = self._answer(prepared, caller or self.caller(), codec)
            except MaskRCNNError as error:
                reply = refusal(error)
                if self.settings.error_entries and isinstance(error, RequestError):
                    reply = replace(reply, status=200)
            except Exception as error:
                reply = refusal(failed(error))
            seconds, stages = time.perf_counter() - start, stopwatch.seconds
            model = self.models.peek(envelope.model)
            self._tell(
                reply,
                model="" if model is None else model.name,
                seconds=seconds,
                stages=stages,
                laps=stopwatch.laps,
                bytes_in=len(envelope.body),
            )
        timing = {SERVER_TIMING: _server_timing(stages, seconds)}
        return replace(reply, headers={**timing, **reply.headers})

    def refuse(self, error: MaskRCNNError) -> Reply:
        """The answer to a request that is refused before there is a body to `invoke` with."""
        with request_ids.assigned():
            reply = refusal(error)
            self._tell(reply)
        return reply

    def caller(self) -> Caller:
        """Who asks from now on, and waits as long as the settings say."""
        return Caller(self.settings.timeout_s)

    def limit_s(self, envelope: Envelope) -> float:
        """Seconds after which a request is answered, even if the model never ends."""
        model = self.models.peek(envelope.model)
        scheduler = None if model is None else model.scheduler
        return self.settings.timeout_s + ENCODE_S + (0 if scheduler is None else scheduler.limit_s)

    def check_length(self, length: int) -> None:
        """Raise PayloadTooLarge if a front end does not read a body of so many bytes."""
        limit = self.settings.max_payload_mb
        if length > limit * 2**20:
            raise PayloadTooLarge(f"the body is larger than {limit:g} MiB", max_payload_mb=limit)

    def _answer(self, envelope: Envelope, caller: Caller, codec: Codec | None) -> Reply:
        hosted = self.models.find(envelope.model)
        scheduler = hosted.ready()
        defaults = self.settings.model if hosted.spec is None else hosted.spec.settings
        with Place(scheduler, caller) as place:
            with stage("decode"):
                request = requests.parse(envelope) if codec is None else codec.parse(envelope)
                form = (
                    self._format(request, envelope.accept, defaults.format)
                    if codec is None
                    else codec.format
                )
                options = resolved(request.options, defaults, scheduler.metadata)
            inference = Inference(scheduler, options, form, self.settings.max_image_pixels)
            return inference.reply(request, place, caller)

    def _format(self, request: InferenceRequest, accept: str, default: str) -> Format:
        """The format that a request chooses. Raises NotAcceptable."""
        asked, negotiates = request.options.format, request.negotiates
        return negotiation.choose(self._formats, asked, accept, default, negotiates=negotiates)

    def _tell(
        self,
        reply: Reply,
        *,
        model: str = "",
        seconds: float = 0.0,
        stages: Mapping[str, float] = MappingProxyType({}),
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
            stages=stages,
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
            extra={"exchange": exchange},
        )


def _server_timing(stages: Mapping[str, float], total: float) -> str:
    """Milliseconds of each stage, and of all (https://www.w3.org/TR/server-timing/)."""
    parts = {**stages, "total": total}
    return ", ".join([f"{name};dur={1000 * s:.3f}" for name, s in parts.items()])

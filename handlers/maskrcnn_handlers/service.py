"""The heart of the handler layer: a request's bytes in, a reply's bytes out, over any transport."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from maskrcnn_handlers.answer import negotiation
from maskrcnn_handlers.answer.answering import Inference, check_format, uncut
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
from maskrcnn_server.hosting.job import Caller
from maskrcnn_server.hosting.models import Hosted
from maskrcnn_server.stopwatch import listen, stage

if TYPE_CHECKING:
    from maskrcnn_handlers.answer.answering import Cut
    from maskrcnn_handlers.observe.tracing import Tracing
    from maskrcnn_handlers.request.envelope import Codec, Envelope
    from maskrcnn_handlers.request.requests import InferenceRequest
    from maskrcnn_server.formats import Format
    from maskrcnn_server.hosting.job import Job
    from maskrcnn_server.hosting.models import Models
    from maskrcnn_server.settings import Settings

ENCODE_S = 10
"""Seconds in which an answer is surely written."""
SERVER_TIMING = "Server-Timing"
COMPUTED = ("engine", "device", "GPU", "driver")
"""Facts about a model that /ping tells."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Call:
    """A request to a model, which has been looked up."""

    envelope: Envelope
    caller: Caller
    model: Hosted | MaskRCNNError
    """The model that is asked, or why there is none."""
    limit_s: float
    """Seconds after which the request is answered, even if the model never ends."""
    codec: Codec | None = None
    """The wire format. None: one of this server's own, as the request chooses."""


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
        """Sender of spans. None: no spans are sent."""
        self.prepare: Callable[[Envelope], Envelope] = lambda envelope: envelope
        """Function of a plugin that completes each request before it waits for the model, such as
        by images at addresses. May raise RequestError."""
        self.cut: Cut = uncut
        """Function of a plugin that finds the instances in an image tile by tile."""

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
        workers = {"workers": scheduler.workers} if scheduler.workers else {}
        return json_reply(200, described | computed | workers)

    def metrics(self) -> Reply:
        """Metrics for Prometheus. Quick, whatever the model does."""
        return Reply(200, self._metrics.text(), CONTENT_TYPE)

    def execution_parameters(self) -> Reply:
        """Parameters that batch transform asks for before it starts: how to send its files."""
        settings = self.settings
        return json_reply(
            200,
            {
                "MaxConcurrentTransforms": settings.max_concurrent_transforms,
                "BatchStrategy": "SINGLE_RECORD",
                "MaxPayloadInMB": max(1, int(settings.max_payload_mb)),
            },
        )

    def call(
        self, envelope: Envelope, caller: Caller | None = None, codec: Codec | None = None
    ) -> Call:
        """The call that a request makes; it waits as long as the settings say. Never raises."""
        timeout_s = self.settings.timeout_s
        caller = caller or Caller(timeout_s)
        try:
            model = self.models.find(envelope.model)
        except MaskRCNNError as error:
            return Call(envelope, caller, error, timeout_s + ENCODE_S, codec)
        scheduler = model.scheduler
        limit_s = timeout_s + ENCODE_S + (0 if scheduler is None else scheduler.limit_s)
        return Call(envelope, caller, model, limit_s, codec)

    def invoke(
        self, envelope: Envelope, caller: Caller | None = None, codec: Codec | None = None
    ) -> Reply:
        """The reply to one request. Never raises: every failure is a reply.

        `caller` is the client, by default one that stays. `codec` None: the request is one of this
        server's own, and chooses its format.
        """
        return self.answer(self.call(envelope, caller, codec))

    def answer(self, call: Call) -> Reply:
        """The reply to a call. Never raises: every failure is a reply."""
        start = time.perf_counter()
        with request_ids.assigned() as request_id, listen() as stopwatch:
            try:
                reply = self._answer(call)
            except MaskRCNNError as error:
                reply = refusal(error)
                if self.settings.error_entries and isinstance(error, RequestError):
                    reply = replace(reply, status=200)
            except Exception as error:
                reply = refusal(failed(error))
            exchange = Exchange(
                request_id=request_id,
                model=call.model.name if isinstance(call.model, Hosted) else "",
                status=reply.status,
                code=reply.code,
                seconds=time.perf_counter() - start,
                stages=stopwatch.seconds,
                laps=stopwatch.laps,
                bytes_in=len(call.envelope.body),
                bytes_out=len(reply.body),
            )
            self.tell(exchange)
        return replace(reply, headers={SERVER_TIMING: exchange.server_timing(), **reply.headers})

    def refuse(self, error: MaskRCNNError) -> Reply:
        """The reply to a request that is refused before there is a body to `invoke` with."""
        with request_ids.assigned() as request_id:
            reply = refusal(error)
            self.tell(
                Exchange(
                    request_id=request_id,
                    status=reply.status,
                    code=reply.code,
                    bytes_out=len(reply.body),
                )
            )
        return reply

    def check_length(self, length: int) -> None:
        """Raise PayloadTooLarge if a front end does not read a body of so many bytes."""
        limit = self.settings.max_payload_mb
        if length > limit * 2**20:
            raise PayloadTooLarge(f"the body is larger than {limit:g} MiB", max_payload_mb=limit)

    def _answer(self, call: Call) -> Reply:
        """The reply to a call. Raises what `answer` turns into a reply."""
        with self.understood(call) as (request, inference, job):
            is_alone = request.layout == "single" and inference.options.tiles is None
            if is_alone:
                prediction = inference.predict(request.images[0], job)
        if is_alone:
            return inference.written(prediction)
        if request.layout == "single":
            return inference.written(inference.detect(request.images[0], call.caller))
        return inference.several(request, call.caller)

    @contextmanager
    def understood(self, call: Call) -> Iterator[tuple[InferenceRequest, Inference, Job]]:
        """A call's request, how its images are answered, and the job that it takes meanwhile.

        Raises MaskRCNNError.
        """
        model, codec, envelope = call.model, call.codec, call.envelope
        if codec is None:
            envelope = self.prepare(envelope)
        if isinstance(model, MaskRCNNError):
            raise model
        scheduler = model.ready()
        defaults = self.settings.model if model.spec is None else model.spec.settings
        with scheduler.job(call.caller) as job:
            with stage("decode"):
                if codec is None:
                    request = requests.parse(envelope)
                    form = self._format(request, envelope.accept, defaults.format)
                else:
                    request, form = codec.parse(envelope), codec.format
                options = resolved(request.options, defaults, scheduler.metadata)
                check_format(form, options.rle, request.layout)
            limit = self.settings.max_image_pixels
            yield request, Inference(scheduler, options, form, limit, self.cut), job

    def _format(self, request: InferenceRequest, accept: str, default: str) -> Format:
        """The format that a request chooses. Raises NotAcceptable."""
        asked, negotiates = request.options.format, request.negotiates
        return negotiation.choose(self._formats, asked, accept, default, negotiates=negotiates)

    def tell(self, exchange: Exchange) -> None:
        """Tell the log, the metrics and the trace of a request that is answered."""
        self._metrics.count(exchange)
        if self.tracing is not None:
            self.tracing.add(exchange)
        logger.info(
            "request %s: %d in %.0f ms, %d bytes in, %d out",
            exchange.request_id,
            exchange.status,
            1000 * exchange.seconds,
            exchange.bytes_in,
            exchange.bytes_out,
            extra={"exchange": exchange},
        )

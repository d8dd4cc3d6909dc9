"""The gRPC transport, on a port of its own."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import wraps
from typing import TYPE_CHECKING, Any

import grpc

from maskrcnn_handlers.answer.reply import failed
from maskrcnn_handlers.answer.status import status_of
from maskrcnn_handlers.http.model_management import ModelManagement
from maskrcnn_handlers.request.envelope import Envelope
from maskrcnn_protocols.collected import error_of
from maskrcnn_protocols.open_inference import grpc_tensors
from maskrcnn_protocols.open_inference.catalogue import Catalogue
from maskrcnn_protocols.open_inference.codec import GrpcCodec
from maskrcnn_protocols.open_inference.inference import written
from maskrcnn_protocols.open_inference.messages import Handler, message, service
from maskrcnn_protocols.open_inference.rest import load_body
from maskrcnn_server.errors import MaskRCNNError, StartupError

if TYPE_CHECKING:
    from maskrcnn_handlers.answer.reply import Reply
    from maskrcnn_handlers.http.host import Host
    from maskrcnn_protocols.open_inference.statistics import Statistics
    from maskrcnn_server.settings import Settings

SERVICE = "inference.GRPCInferenceService"
HEALTH = "grpc.health.v1.Health"
MAX_THREADS = 64
OVERHEAD_BYTES = 1 << 20
"""Bytes of a message besides the images."""
CODES = {
    401: grpc.StatusCode.UNAUTHENTICATED,
    404: grpc.StatusCode.NOT_FOUND,
    409: grpc.StatusCode.ALREADY_EXISTS,
    429: grpc.StatusCode.RESOURCE_EXHAUSTED,
    499: grpc.StatusCode.CANCELLED,
    503: grpc.StatusCode.UNAVAILABLE,
    504: grpc.StatusCode.DEADLINE_EXCEEDED,
    507: grpc.StatusCode.RESOURCE_EXHAUSTED,
}
"""Codes by HTTP status; of other refusals INVALID_ARGUMENT, of faults INTERNAL."""

logger = logging.getLogger(__name__)


def start(
    host: Host, catalogue: Catalogue, statistics: Statistics, port: int
) -> Callable[[], None]:
    """Listen on a port, 0 for a free one; a function that refuses new calls and lets those that run
    finish. Raises StartupError if the port cannot be listened on.
    """
    settings = host.settings
    at_once = max(1, min(MAX_THREADS, int(settings.max_bodies_mb / settings.max_payload_mb)))
    server = grpc.server(
        ThreadPoolExecutor(at_once, thread_name_prefix="grpc"),
        options=[
            (
                "grpc.max_receive_message_length",
                int(settings.max_payload_mb * 2**20) + OVERHEAD_BYTES,
            ),
            ("grpc.so_reuseport", 0),
        ],
        maximum_concurrent_rpcs=at_once,
    )
    servicer = Servicer(host, catalogue, statistics)
    server.add_generic_rpc_handlers(
        (service(SERVICE, servicer.methods()), service(HEALTH, {"Check": servicer.check}))
    )
    place = f"[{settings.host}]" if ":" in settings.host else settings.host
    try:
        bound = server.add_insecure_port(f"{place}:{port}")
    except RuntimeError:
        raise StartupError(
            f"cannot listen on {settings.host}, port {port}: PROTOCOLS_GRPC_PORT has to be a port "
            "that nobody listens on"
        ) from None
    server.start()
    logger.info("Open Inference Protocol over gRPC: port %d", bound)

    def end() -> None:
        servicer.is_ending = True
        server.stop(settings.drain_timeout_s)

    return end


class Servicer:
    """The methods of the service."""

    def __init__(self, host: Host, catalogue: Catalogue, statistics: Statistics) -> None:
        self._service = host.service
        self._models_dir = host.settings.models_dir
        self._management = ModelManagement(host.service.models, is_open=host.settings.multi_model)
        self._catalogue = catalogue
        self._statistics = statistics
        self._key = _key(host.settings)
        self.is_ending = False
        """Whether health checks fail because the server ends."""

    def methods(self) -> Mapping[str, Handler]:
        """Every method of the service by name; those of health need no API key."""
        public: dict[str, Handler] = {
            "ServerLive": self._live,
            "ServerReady": self._ready,
            "ModelReady": self._model_ready,
        }
        guarded: dict[str, Handler] = {
            "ServerMetadata": self._server_metadata,
            "ModelMetadata": self._model_metadata,
            "ModelInfer": self._infer,
            "ModelConfig": self._config,
            "ModelStatistics": self._model_statistics,
            "RepositoryIndex": self._index,
            "RepositoryModelLoad": self._load,
            "RepositoryModelUnload": self._unload,
        }
        return {name: _told(method, "") for name, method in public.items()} | {
            name: _told(method, self._key) for name, method in guarded.items()
        }

    def check(self, request: Any, context: grpc.ServicerContext) -> Any:
        """gRPC's health check, of the server or of the service by name."""
        if request.service not in ("", SERVICE):
            context.abort(grpc.StatusCode.NOT_FOUND, "no such service")
        status = "SERVING" if self._is_ready() else "NOT_SERVING"
        return message(f"{HEALTH}CheckResponse")(status=status)

    def _is_ready(self) -> bool:
        return not self.is_ending and self._catalogue.is_server_ready()

    def _live(self, _: Any, __: grpc.ServicerContext) -> Any:
        return _made("ServerLiveResponse", live=True)

    def _ready(self, _: Any, __: grpc.ServicerContext) -> Any:
        return _made("ServerReadyResponse", ready=self._is_ready())

    def _model_ready(self, request: Any, _: grpc.ServicerContext) -> Any:
        ready = self._catalogue.is_ready(request.name, request.version)
        return _made("ModelReadyResponse", ready=ready)

    def _server_metadata(self, _: Any, __: grpc.ServicerContext) -> Any:
        return _made("ServerMetadataResponse", **self._catalogue.server())

    def _model_metadata(self, request: Any, _: grpc.ServicerContext) -> Any:
        told = self._catalogue.metadata(request.name, request.version)
        return _made("ModelMetadataResponse", **told)

    def _config(self, request: Any, _: grpc.ServicerContext) -> Any:
        told = self._catalogue.config(request.name, request.version)
        return _made("ModelConfigResponse", config=_made("ModelConfig", **told))

    def _model_statistics(self, request: Any, _: grpc.ServicerContext) -> Any:
        names = [request.name] if request.name else sorted(self._catalogue.hosted())
        for name in names:
            self._catalogue.find(name, request.version)
        told = [_made("ModelStatistics", **self._statistics.of(name)) for name in names]
        return _made("ModelStatisticsResponse", model_stats=told)

    def _index(self, request: Any, _: grpc.ServicerContext) -> Any:
        return _made("RepositoryIndexResponse", models=self._catalogue.index(ready=request.ready))

    def _load(self, request: Any, context: grpc.ServicerContext) -> Any:
        body = load_body(request.model_name, self._models_dir)
        _check(self._management.load(body), context)
        return _made("RepositoryModelLoadResponse")

    def _unload(self, request: Any, context: grpc.ServicerContext) -> Any:
        _check(self._management.unload(request.model_name), context)
        return _made("RepositoryModelUnloadResponse")

    def _infer(self, request: Any, context: grpc.ServicerContext) -> Any:
        target = self._catalogue.target(request.model_name, request.model_version)
        asked = grpc_tensors.asked(request)
        codec = GrpcCodec(asked)
        call = self._service.call(Envelope(b"", "", "", {}, target), codec=codec)
        context.add_callback(call.caller.leave)
        reply = self._service.answer(call)
        images = 0 if error_of(reply) else len(codec.format.predictions())
        self._statistics.add(request.model_name, reply, images)
        _check(reply, context)
        return grpc_tensors.reply(request, written(asked, codec.format))


def _told(method: Handler, key: str) -> Handler:
    """The method for calls that have the key, with errors as gRPC has them."""

    @wraps(method)
    def told(request: Any, context: grpc.ServicerContext) -> Any:
        if key:
            _check_key(key, context)
        try:
            return method(request, context)
        except MaskRCNNError as error:
            context.abort(_code(status_of(error)), error.message)
        except grpc.RpcError:
            raise
        # What `abort` raises is an Exception, and nothing else.
        except Exception as error:
            if context.code() is not None:
                raise
            logger.error("a call failed", exc_info=error)
            context.abort(grpc.StatusCode.INTERNAL, failed(error).message)

    return told


def _check(reply: Reply, context: grpc.ServicerContext) -> None:
    error = error_of(reply)
    if error is not None:
        context.abort(_code(error[0]), error[1])


def _check_key(key: str, context: grpc.ServicerContext) -> None:
    given = dict(context.invocation_metadata()).get("authorization", "")
    scheme, _, shown = str(given).partition(" ")
    if scheme.lower() != "bearer" or not secrets.compare_digest(shown.encode(), key.encode()):
        context.abort(grpc.StatusCode.UNAUTHENTICATED, "authorization: Bearer <key> is needed")


def _key(settings: Settings) -> str:
    return "" if settings.api_key is None else settings.api_key.get_secret_value()


def _code(status: int) -> grpc.StatusCode:
    refusal = grpc.StatusCode.INVALID_ARGUMENT if status < 500 else grpc.StatusCode.INTERNAL
    return CODES.get(status, refusal)


def _made(kind: str, /, **fields: object) -> Any:
    return message(f"inference.{kind}")(**fields)

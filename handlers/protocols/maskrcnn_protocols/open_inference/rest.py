"""The REST transport: routes below `/v2`."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, TypeAlias, TypeVar

from anyio import to_thread
from pydantic import BaseModel, ValidationError
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from maskrcnn_handlers.answer.reply import failed
from maskrcnn_handlers.answer.status import status_of
from maskrcnn_handlers.http.host import InferenceRoute, PublicRoute, front_end
from maskrcnn_handlers.http.model_management import MODEL_NAME, ModelManagement
from maskrcnn_handlers.request.envelope import Envelope
from maskrcnn_protocols import settings
from maskrcnn_protocols.collected import error_of
from maskrcnn_protocols.open_inference.catalogue import Catalogue
from maskrcnn_protocols.open_inference.codec import RestCodec
from maskrcnn_protocols.open_inference.compression import compressed, decompressed
from maskrcnn_protocols.open_inference.inference import written
from maskrcnn_protocols.open_inference.statistics import Statistics
from maskrcnn_server.errors import MaskRCNNError, PayloadTooLarge, RequestError

if TYPE_CHECKING:
    from pathlib import Path

    from maskrcnn_handlers.answer.reply import Reply
    from maskrcnn_handlers.http.host import Host

Answer: TypeAlias = Callable[[Request], Awaitable[Response]]
S = TypeVar("S", bound=BaseModel)
MAX_SMALL_BYTES = 1 << 16
"""Size of bodies about models at most."""
MODEL = "/v2/models/{name}"
VERSIONED = MODEL + "/versions/{version}"

logger = logging.getLogger(__name__)


class IndexRequest(BaseModel):
    """Which models to list."""

    ready: bool = False


class Parameters(BaseModel):
    """Parameters that other servers have, and that have no meaning here."""

    parameters: dict[str, object] = {}


class OpenInferenceRoutes:
    """`/v2`; and a server of the gRPC transport, if the settings name a port for it."""

    name = "open-inference"
    addresses: Mapping[str, str] = MappingProxyType({"Open Inference Protocol": "/v2"})

    def routes(self, host: Host, /) -> Sequence[BaseRoute]:
        chosen = settings.read()
        catalogue, statistics = Catalogue(host.service, chosen.model_name), Statistics()
        if chosen.grpc_port is not None:
            from maskrcnn_protocols.open_inference.grpc_server import start

            host.at_end.append(start(host, catalogue, statistics, chosen.grpc_port))
        return Rest(host, catalogue, statistics).routes()


class Rest:
    """The routes of one server."""

    def __init__(self, host: Host, catalogue: Catalogue, statistics: Statistics) -> None:
        self._catalogue = catalogue
        self._statistics = statistics
        self._max_bytes = int(host.settings.max_payload_mb * 2**20)
        self._models_dir = host.settings.models_dir
        self._management = ModelManagement(host.service.models, is_open=host.settings.multi_model)

    def routes(self) -> Sequence[BaseRoute]:
        """Every route; those of health need no API key."""
        both = [
            (Route, "", self._metadata, "GET"),
            (PublicRoute, "/ready", self._model_ready, "GET"),
            (Route, "/config", self._config, "GET"),
            (Route, "/stats", self._stats, "GET"),
            (InferenceRoute, "/infer", self._infer, "POST"),
        ]
        return [
            PublicRoute("/v2/health/live", _live),
            PublicRoute("/v2/health/ready", _ready),
            Route("/v2", _told(self._server)),
            Route("/v2/models/stats", _told(self._all_stats)),
            *(
                kind(prefix + path, _told(answer), methods=[method])
                for prefix in (MODEL, VERSIONED)
                for kind, path, answer, method in both
            ),
            Route("/v2/repository/index", _told(self._index), methods=["POST"]),
            Route("/v2/repository/models/{name}/load", _told(self._load), methods=["POST"]),
            Route("/v2/repository/models/{name}/unload", _told(self._unload), methods=["POST"]),
        ]

    async def _server(self, _: Request) -> Response:
        """The server's metadata."""
        return JSONResponse(self._catalogue.server())

    async def _metadata(self, request: Request) -> Response:
        """A model's metadata."""
        return JSONResponse(self._catalogue.metadata(*_model(request)))

    async def _model_ready(self, request: Request) -> Response:
        """200 if the model answers requests."""
        return Response(status_code=200 if self._catalogue.is_ready(*_model(request)) else 503)

    async def _config(self, request: Request) -> Response:
        """A model's configuration, as Triton has it; a parameter lists its classes."""
        name, number = _model(request)
        told = self._catalogue.config(name, number)
        classes = json.dumps(self._catalogue.classes(name))
        return JSONResponse({**told, "parameters": {"classes": {"string_value": classes}}})

    async def _stats(self, request: Request) -> Response:
        """Counts and durations of this protocol's requests to a model."""
        name, number = _model(request)
        self._catalogue.find(name, number)
        return JSONResponse({"model_stats": [self._statistics.of(name)]})

    async def _all_stats(self, _: Request) -> Response:
        """The same of every model."""
        names = sorted(self._catalogue.hosted())
        return JSONResponse({"model_stats": [self._statistics.of(name) for name in names]})

    async def _infer(self, request: Request) -> Response:
        """Find the instances in the images of a tensor."""
        name, number = _model(request)
        target = self._catalogue.target(name, number)
        server = front_end(request)
        codec = RestCodec(request.headers, self._max_bytes)
        async with server.body(request) as body:
            reply = await server.reply(request, Envelope(body, "", "", {}, target), codec)
            return await to_thread.run_sync(self._written, request, name, codec, reply)

    def _written(self, request: Request, name: str, codec: RestCodec, reply: Reply) -> Response:
        error = error_of(reply)
        images = 0 if error else len(codec.format.predictions())
        self._statistics.add(name, reply, images)
        if error or codec.request is None:
            status, message = error or (500, "the server failed on this request")
            return _refused(message, status, reply)
        tensors = written(codec.request.asked, codec.format)
        body, headers = codec.request.reply(name, tensors)
        body, encoded = compressed(body, request.headers.get("accept-encoding", ""))
        return Response(body, 200, {**reply.headers, **headers, **encoded})

    async def _index(self, request: Request) -> Response:
        """The models, and their states."""
        content = await self._content(request, IndexRequest)
        return JSONResponse(self._catalogue.index(ready=content.ready))

    async def _load(self, request: Request) -> Response:
        """Load a model of a server that hosts several: a folder of `MASKRCNN_MODELS_DIR`, or one of
        `models.yaml`."""
        await self._content(request, Parameters)
        body = load_body(request.path_params["name"], self._models_dir)
        return _passed(await to_thread.run_sync(self._management.load, body))

    async def _unload(self, request: Request) -> Response:
        """Unload a model."""
        await self._content(request, Parameters)
        name = request.path_params["name"]
        return _passed(await to_thread.run_sync(self._management.unload, name))

    async def _content(self, request: Request, schema: type[S]) -> S:
        """The request's small body; an empty one is an empty object. Raises RequestError."""
        async with front_end(request).body(request) as body:
            encoding = request.headers.get("content-encoding", "")
            text = decompressed(body, encoding, MAX_SMALL_BYTES)
            if len(text) > MAX_SMALL_BYTES:
                raise PayloadTooLarge(f"the body is larger than {MAX_SMALL_BYTES >> 10} KiB")
            try:
                return schema.model_validate_json(text.strip() or b"{}")
            except ValidationError as error:
                first = error.errors(include_url=False, include_input=False)[0]
                where = ".".join(map(str, first["loc"])) or "body"
                raise RequestError(f"{where}: {first['msg']}", field="body") from None


def load_body(name: str, models_dir: Path) -> bytes:
    """The body of SageMaker's request to load the same model."""
    folder = models_dir / name
    is_folder = re.match(MODEL_NAME, name) is not None and folder.is_dir()
    return json.dumps({"model_name": name, "url": str(folder) if is_folder else None}).encode()


def _told(answer: Answer) -> Answer:
    """The same answer, with errors as the protocol has them."""

    async def told(request: Request) -> Response:
        try:
            return await answer(request)
        except ClientDisconnect:
            return Response()
        except MaskRCNNError as error:
            return _refused(error.message, status_of(error))
        except Exception as error:
            fault = failed(error)
            logger.error("%s failed", request.url.path, exc_info=error)
            return _refused(fault.message, status_of(fault))

    return told


async def _live(_: Request) -> Response:
    """200: the server runs."""
    return Response()


async def _ready(request: Request) -> Response:
    """200 if requests are answered now."""
    return Response(status_code=front_end(request).ping().status)


def _model(request: Request) -> tuple[str, str]:
    return request.path_params["name"], request.path_params.get("version", "")


def _passed(reply: Reply) -> Response:
    error = error_of(reply)
    return Response() if error is None else _refused(error[1], error[0], reply)


def _refused(message: str, status: int, reply: Reply | None = None) -> Response:
    headers = {} if reply is None else dict(reply.headers)
    return JSONResponse({"error": message}, status, headers)

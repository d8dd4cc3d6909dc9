"""The routes of a machine learning backend of Label Studio, below `/label-studio`.

Source: https://labelstud.io/guide/ml_create and label_studio_ml/api.py.
"""

from __future__ import annotations

import base64
import binascii
import json
import secrets
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

from anyio import to_thread
from pydantic import BaseModel, Field, ValidationError
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute

from maskrcnn_handlers.answer.reply import refusal
from maskrcnn_handlers.http.host import PublicRoute, front_end, response
from maskrcnn_handlers.request.envelope import Envelope
from maskrcnn_handlers.request.requests import Encoded, InferenceRequest, check_size
from maskrcnn_protocols.collected import Collected
from maskrcnn_protocols.img_url import fetcher_of
from maskrcnn_protocols.label_studio import labelling
from maskrcnn_protocols.label_studio.connections import Connection, Connections
from maskrcnn_protocols.label_studio.regions import prediction
from maskrcnn_server.errors import MaskRCNNError, RequestError, Unauthorized
from maskrcnn_server.options import Options

if TYPE_CHECKING:
    from maskrcnn_handlers.http.host import Host
    from maskrcnn_protocols.fetching import Fetcher
    from maskrcnn_protocols.label_studio.labelling import Labelling
    from maskrcnn_server.settings import Settings

PREFIX = "/label-studio"
MAX_TASKS = 256
"""Number of tasks in one request at most."""
AT_ONCE = 4
"""Number of tasks whose images are fetched and computed together."""

Answer: TypeAlias = Callable[[Request], Awaitable[Response]]
S = TypeVar("S", bound=BaseModel)


class Setup(BaseModel):
    """What Label Studio says when it connects."""

    project: str = Field(max_length=256)
    label_schema: str = Field("", alias="schema", max_length=labelling.MAX_CHARACTERS)
    hostname: str = Field("", max_length=2048)
    access_token: str = Field("", max_length=4096, pattern=r"^[!-~]*$")


class Task(BaseModel):
    """A task: `data` has the image's address."""

    data: dict[str, Any]


class PredictRequest(BaseModel):
    """The tasks to predict for."""

    tasks: list[Task] = Field(max_length=MAX_TASKS)
    label_config: str = Field(max_length=labelling.MAX_CHARACTERS)
    project: str = Field("", max_length=256)


class LabelStudioRoutes:
    """`/label-studio`."""

    name = "label-studio"
    addresses: Mapping[str, str] = MappingProxyType({"Label Studio ML backend": PREFIX})

    def routes(self, host: Host, /) -> Sequence[BaseRoute]:
        backend = Backend(host, fetcher_of(host))
        # Label Studio sends a user name and a password, where others send the key alone.
        return [
            PublicRoute(f"{prefix}{path}", backend.guarded(answer), methods=[method])
            for prefix in (PREFIX, f"{PREFIX}/models/{{model}}")
            for method, path, answer in (
                ("GET", "", backend.health),
                ("GET", "/", backend.health),
                ("GET", "/health", backend.health),
                ("GET", "/versions", backend.versions),
                ("POST", "/setup", backend.setup),
                ("POST", "/predict", backend.predict),
                ("POST", "/webhook", backend.webhook),
            )
        ]


class Backend:
    """The answers of one server."""

    def __init__(self, host: Host, fetcher: Fetcher) -> None:
        self._service = host.service
        self._key = _key(host.settings)
        self._fetcher = fetcher
        self._connections = Connections()

    def guarded(self, answer: Answer) -> Answer:
        """The same answer, for requests that have the API key as a bearer or as a password, and
        with errors as this server has them."""

        async def told(request: Request) -> Response:
            try:
                self._check_key(request.headers.get("authorization", ""))
                return await answer(request)
            except ClientDisconnect:
                return Response()
            except MaskRCNNError as error:
                return response(refusal(error))

        return told

    async def health(self, request: Request) -> Response:
        """`UP` once requests are answered."""
        reply = front_end(request).ping()
        if reply.status != 200:
            return response(reply)
        return JSONResponse({"status": "UP", "model_class": "maskrcnn_server"})

    async def versions(self, request: Request) -> Response:
        """The one version of the model."""
        return JSONResponse({"versions": [self._version(request)]})

    async def setup(self, request: Request) -> Response:
        """Label Studio connects: it says where it is, and gives a token for its files."""
        said = await self._content(request, Setup)
        if said.label_schema:
            labelling.parse(said.label_schema)
        connection = Connection(said.hostname.rstrip("/"), said.access_token)
        self._connections.put(said.project, connection)
        return JSONResponse({"model_version": self._version(request)})

    async def webhook(self, request: Request) -> Response:
        """Label Studio tells of annotations, which change nothing here."""
        async with front_end(request).body(request):
            return JSONResponse({"status": "ok", "result": {}}, 201)

    async def predict(self, request: Request) -> Response:
        """A prediction for each task; an empty one, with the error, for an image that fails. If all
        fail, the error of the first."""
        asked = await self._content(request, PredictRequest)
        config = labelling.parse(asked.label_config)
        connection = self._connections.of(asked.project)
        results: list[dict[str, Any]] = []
        for start in range(0, len(asked.tasks), AT_ONCE):
            tasks = asked.tasks[start : start + AT_ONCE]
            found = await self._results(request, tasks, config, connection)
            if isinstance(found, Response):
                return found
            results += found
        if results and all("error" in one for one in results):
            raise RequestError(f"tasks: {results[0]['error']['message']}", field="tasks")
        return JSONResponse({"results": results, "model_version": self._version(request)})

    async def _results(
        self,
        request: Request,
        tasks: Sequence[Task],
        config: Labelling,
        connection: Connection,
    ) -> list[dict[str, Any]] | Response:
        image, field = next(iter(config.images.items()))
        images = await to_thread.run_sync(self._images, tasks, field, connection)
        codec = TasksCodec(images)
        envelope = Envelope(b"", "", "", {}, request.path_params.get("model"))
        reply = await front_end(request).reply(request, envelope, codec)
        if reply.code:
            return response(reply)
        errors = json.loads(reply.body)["predictions"]
        controls = [one for one in config.controls if one.to_name == image]
        version = self._version(request)

        def write() -> list[dict[str, Any]]:
            return [
                {"model_version": version, "score": 0.0, "result": [], **errors[number]}
                if (found := codec.format.found(number)) is None
                else prediction(found, controls, version)
                for number in range(len(tasks))
            ]

        return await to_thread.run_sync(write)

    def _images(
        self, tasks: Sequence[Task], field: str, connection: Connection
    ) -> list[Encoded | RequestError]:
        with ThreadPoolExecutor(AT_ONCE) as pool:
            return list(
                pool.map(lambda i: self._image(i, tasks[i], field, connection), range(len(tasks)))
            )

    def _image(
        self, number: int, task: Task, field: str, connection: Connection
    ) -> Encoded | RequestError:
        given = task.data.get(field)
        try:
            if not isinstance(given, str):
                raise RequestError(f"tasks: data has no address in {field[:80]!r}", field="tasks")
            if given.startswith("data:"):
                return Encoded(number, _inline(given))
            address, headers = connection.address(given)
            return Encoded(number, self._fetcher.fetch(address, headers))
        except RequestError as error:
            return error
        except MaskRCNNError as error:
            return RequestError(error.message)

    async def _content(self, request: Request, schema: type[S]) -> S:
        async with front_end(request).body(request) as body:
            check_size(body)
            try:
                return schema.model_validate_json(body)
            except ValidationError as error:
                first = error.errors(include_url=False, include_input=False)[0]
                where = ".".join(map(str, first["loc"])) or "body"
                raise RequestError(f"{where}: {first['msg']}", field=where) from None

    def _version(self, request: Request) -> str:
        """The model's name, which Label Studio keeps with each prediction."""
        try:
            return self._service.models.find(request.path_params.get("model")).name
        except MaskRCNNError:
            return "maskrcnn"

    def _check_key(self, authorization: str) -> None:
        scheme, _, given = authorization.partition(" ")
        if scheme.lower() == "basic":
            try:
                given = base64.b64decode(given).decode().partition(":")[2]
            except (binascii.Error, UnicodeDecodeError):
                given = ""
        if self._key and not secrets.compare_digest(given.strip().encode(), self._key.encode()):
            raise Unauthorized("this server needs its API key, as the password or as a bearer")


class TasksCodec:
    """Answers a request whose images were fetched already."""

    def __init__(self, images: Sequence[Encoded | RequestError]) -> None:
        self._images = images
        self.format = Collected()

    def parse(self, _: Envelope, /) -> InferenceRequest:
        return InferenceRequest(self._images, Options(), "list")


def _inline(address: str) -> bytes:
    """The file in a `data:` address. Raises RequestError."""
    _, _, data = address.partition(";base64,")
    try:
        return base64.b64decode(data, validate=True)
    except binascii.Error as error:
        raise RequestError(
            f"tasks: a data address is not base64 ({error})", field="tasks"
        ) from None


def _key(settings: Settings) -> str:
    return "" if settings.api_key is None else settings.api_key.get_secret_value()

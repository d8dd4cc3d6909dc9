"""The ASGI front end: SageMaker's routes. It moves bytes, and decides nothing."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TypeAlias

from anyio import CancelScope, CapacityLimiter, current_time, to_thread
from fastapi import Request, Response
from fastapi_offline import FastAPIOffline
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.routing import BaseRoute
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from maskrcnn_handlers.http.host import response
from maskrcnn_handlers.http.model_management import ModelManagement
from maskrcnn_handlers.observe import request_ids, tracing
from maskrcnn_handlers.request.requests import (
    ARRAY,
    FORM,
    JSON,
    RAW,
    FormRequest,
    JsonRequest,
    SeveralRequest,
)
from maskrcnn_handlers.service import Service, refusal
from maskrcnn_server.errors import BackendTimedOut, MaskRCNNError, NotReady, RequestError
from maskrcnn_server.hosting.caller import Caller

ATTRIBUTES = "X-Amzn-SageMaker-Custom-Attributes"
TARGET_MODEL = "X-Amzn-SageMaker-Target-Model"
LONGEST_LENGTH = 18
"""Digits of a Content-Length that is looked at before the body is read."""

Endpoint: TypeAlias = Callable[[Request], Awaitable[Response]]

BYTES = {"schema": {"type": "string", "format": "binary"}}
ONE_OR_SEVERAL = [JsonRequest.model_json_schema(), SeveralRequest.model_json_schema()]
INVOCATION: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            JSON: {"schema": {"oneOf": ONE_OR_SEVERAL}},
            FORM: {"schema": FormRequest.model_json_schema()},
            **dict.fromkeys((*RAW, ARRAY), BYTES),
        },
    },
    "parameters": [
        {
            "in": "header",
            "name": ATTRIBUTES,
            "schema": {"type": "string", "maxLength": 1024},
            "description": "Options as `key=value`, separated by `;`, for bodies that are no JSON.",
        }
    ],
}
"""What OpenAPI says of a request that the routes take as bytes."""


class App:
    """The application; `threads` requests are decoded, answered or refused at a time.

    `routes` are those of plugins.
    """

    def __init__(
        self,
        service: Service,
        management: ModelManagement,
        threads: int,
        routes: Sequence[BaseRoute] = (),
    ) -> None:
        self._service = service
        self._management = management
        self._limiter = CapacityLimiter(threads)
        self._reading: set[CancelScope] = set()
        self._running: set[CancelScope] = set()
        traced = service.tracing
        app = FastAPIOffline(
            title="maskrcnn_server",
            description="Instance segmentation: boxes, classes, scores and masks.",
            redirect_slashes=False,
            telemetry=tracing.OFF if traced is None else traced.of_requests,
        )
        app.get("/ping")(self._ping)
        app.head("/ping", include_in_schema=False)(self._ping)
        app.get("/metrics")(self._metrics)
        for path in ("/invocations", "/endpoints/{name}/invocations"):
            app.post(path, openapi_extra=INVOCATION)(self._invocations)
        for path in ("/models/{name}/invoke", "/models/{name}/invocations"):
            app.post(path, openapi_extra=INVOCATION)(self._invoke)
        app.get("/execution-parameters")(self._execution_parameters)
        app.get("/models")(self._models)
        app.post("/models")(self._load)
        app.get("/models/{name}")(self._model)
        app.delete("/models/{name}")(self._unload)
        app.router.routes.extend(routes)
        app.exception_handler(HTTPException)(_no_such_route)
        direct = {
            ("GET", "/ping"): self._pinged,
            ("POST", "/invocations"): self._invocations,
        }
        # FastAPI makes the span of a request.
        self.asgi = _identified(app if traced is not None else _direct(app, direct))

    def stop_reading(self) -> None:
        """Answer requests whose bodies are still on their way without them."""
        for scope in self._reading:
            scope.cancel()

    def abandon(self) -> None:
        """Answer requests that run without waiting for them any longer."""
        for scope in self._running:
            scope.cancel()

    async def _ping(self) -> Response:
        """200 once the model answers requests, 503 until then."""
        return response(self._service.ping())

    async def _pinged(self, _: Request) -> Response:
        return await self._ping()

    async def _metrics(self) -> Response:
        """What Prometheus reads."""
        return response(self._service.metrics())

    async def _execution_parameters(self) -> Response:
        """How batch transform is to send its files."""
        return response(self._service.execution_parameters())

    async def _models(self, next_page_token: str = "") -> Response:
        """The models that a server of several has, and how they do."""
        return response(self._management.list(next_page_token))

    async def _model(self, name: str) -> Response:
        """Where one of them came from, and how it does."""
        return response(self._management.show(name))

    async def _load(self, request: Request) -> Response:
        """Load a model: `{"model_name": ..., "url": ...}`, a folder of this machine."""
        try:
            body = await self._body(request)
        except ClientDisconnect:
            return Response()
        except MaskRCNNError as error:
            return response(refusal(error))
        return response(await to_thread.run_sync(self._management.load, body))

    async def _unload(self, name: str) -> Response:
        """Unload a model."""
        return response(await to_thread.run_sync(self._management.unload, name))

    async def _invoke(self, request: Request, name: str) -> Response:
        """Find the instances in an image with one of several models."""
        return await self._answer(request, name)

    async def _invocations(self, request: Request) -> Response:
        """Find the instances in an image. The path of `/endpoints` is the one that boto3 calls."""
        return await self._answer(request, request.headers.get(TARGET_MODEL))

    async def _answer(self, request: Request, model: str | None) -> Response:
        try:
            body = await self._body(request)
        except ClientDisconnect:
            return Response()
        except MaskRCNNError as error:
            return response(self._service.refuse(error))
        caller = self._service.caller()
        with _cancellable(self._running) as scope:
            headers = request.headers
            attributes = headers.get(ATTRIBUTES, "")
            scope.deadline = current_time() + self._service.patience_s(model, attributes)
            # anyio's task group would cost eight times as much.
            leaving = asyncio.create_task(_leaves(request, caller))
            try:
                reply = await to_thread.run_sync(
                    self._service.invoke,
                    body,
                    headers.get("content-type", ""),
                    headers.get("accept", ""),
                    attributes,
                    model,
                    caller,
                    limiter=self._limiter,
                    abandon_on_cancel=True,
                )
            finally:
                leaving.cancel()
        if scope.cancelled_caught:
            if scope.deadline <= current_time():
                hangs = BackendTimedOut("the model does not come to an end with this request")
                return response(self._service.refuse(hangs))
            late = NotReady("the server is shutting down; the request took too long")
            return response(refusal(late))
        return response(reply)

    async def _body(self, request: Request) -> bytes:
        """The request's body; it is not read further than its size is allowed."""
        declared = request.headers.get("content-length", "")
        if declared.isascii() and declared.isdigit() and len(declared) <= LONGEST_LENGTH:
            self._service.check_length(int(declared))
        chunks, length = [], 0
        with _cancellable(self._reading) as scope:
            async for chunk in request.stream():
                length += len(chunk)
                self._service.check_length(length)
                chunks.append(chunk)
        if scope.cancelled_caught:
            raise NotReady("the server is shutting down; the body came too late")
        return b"".join(chunks)


def _direct(app: ASGIApp, routes: Mapping[tuple[str, str], Endpoint]) -> ASGIApp:
    """The application, but for some routes, by method and path, that are answered without it.

    They are in it too, for their documentation. What FastAPI does for a route costs half as much as
    all else that this module does.
    """

    async def direct(scope: Scope, receive: Receive, send: Send) -> None:
        endpoint = routes.get((scope.get("method", ""), scope.get("path", "")))
        if endpoint is None:
            await app(scope, receive, send)
            return
        answer = await endpoint(Request(scope, receive, send))
        await answer(scope, receive, send)

    return direct


def _identified(app: ASGIApp) -> ASGIApp:
    """The application, with an id for each request, and a header in each answer that says it."""

    async def identified(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        given = (headers.get(name, "") for name in request_ids.GIVEN)
        with request_ids.assigned(*given) as request_id:

            async def told(message: Message) -> None:
                if message["type"] == "http.response.start":
                    MutableHeaders(scope=message)[request_ids.HEADER] = request_id
                await send(message)

            await app(scope, receive, told)

    return identified


@contextmanager
def _cancellable(scopes: set[CancelScope]) -> Iterator[CancelScope]:
    """A scope that can be cancelled through the set while it lasts."""
    with CancelScope() as scope:
        scopes.add(scope)
        try:
            yield scope
        finally:
            scopes.discard(scope)


async def _leaves(request: Request, caller: Caller) -> None:
    """Tell the engine when the client closes the connection: nobody is there for the answer."""
    while (await request.receive())["type"] != "http.disconnect":
        pass
    caller.leave()


async def _no_such_route(_: Request, error: Exception) -> Response:
    if not isinstance(error, HTTPException):
        raise error
    reply = refusal(RequestError(str(error.detail)))
    return Response(reply.body, error.status_code, error.headers, reply.content_type)

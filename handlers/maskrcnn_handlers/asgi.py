"""The ASGI front end: SageMaker's routes. It moves bytes, and decides nothing."""

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from anyio import CancelScope, CapacityLimiter, create_task_group, to_thread
from fastapi import Request, Response
from fastapi_offline import FastAPIOffline
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from maskrcnn_handlers.model_management import ModelManagement
from maskrcnn_handlers.requests import JsonRequest
from maskrcnn_handlers.service import Reply, Service, refusal
from maskrcnn_server.engine import Caller
from maskrcnn_server.errors import MaskRCNNError, NotReady, RequestError

ATTRIBUTES = "X-Amzn-SageMaker-Custom-Attributes"
LONGEST_LENGTH = 18
"""Digits of a Content-Length that is looked at before the body is read."""

INVOCATION: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {"schema": JsonRequest.model_json_schema()},
            "image/jpeg": {"schema": {"type": "string", "format": "binary"}},
            "image/png": {"schema": {"type": "string", "format": "binary"}},
        },
    }
}
"""What OpenAPI says of a body that the routes take as bytes."""


class App:
    """The application; `threads` requests are decoded, answered or refused at a time."""

    def __init__(self, service: Service, management: ModelManagement, threads: int) -> None:
        self._service = service
        self._management = management
        self._limiter = CapacityLimiter(threads)
        self._reading: set[CancelScope] = set()
        self._running: set[CancelScope] = set()
        self.asgi = FastAPIOffline(
            title="maskrcnn_server",
            description="Instance segmentation: boxes, classes, scores and masks.",
            redirect_slashes=False,
        )
        self.asgi.get("/ping")(self._ping)
        self.asgi.head("/ping", include_in_schema=False)(self._ping)
        for path in ("/invocations", "/endpoints/{name}/invocations"):
            self.asgi.post(path, openapi_extra=INVOCATION)(self._invocations)
        self.asgi.post("/models/{name}/invoke", openapi_extra=INVOCATION)(self._invoke)
        self.asgi.get("/execution-parameters")(self._execution_parameters)
        self.asgi.get("/models")(self._models)
        self.asgi.post("/models")(self._load)
        self.asgi.get("/models/{name}")(self._model)
        self.asgi.delete("/models/{name}")(self._unload)
        self.asgi.exception_handler(HTTPException)(_no_such_route)

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
        return _response(self._service.ping())

    async def _execution_parameters(self) -> Response:
        """How batch transform is to send its files."""
        return _response(self._service.execution_parameters())

    async def _models(self, next_page_token: str = "") -> Response:
        """The models that a multi-model server has loaded."""
        return _response(self._management.list(next_page_token))

    async def _model(self, name: str) -> Response:
        """Where one of them came from."""
        return _response(self._management.show(name))

    async def _load(self, request: Request) -> Response:
        """Load a model: `{"model_name": ..., "url": ...}`, a folder of this machine."""
        try:
            body = await self._body(request)
        except ClientDisconnect:
            return Response()
        except MaskRCNNError as error:
            return _response(refusal(error, uuid.uuid4().hex))
        return _response(await to_thread.run_sync(self._management.load, body))

    async def _unload(self, name: str) -> Response:
        """Unload a model."""
        return _response(await to_thread.run_sync(self._management.unload, name))

    async def _invoke(self, request: Request, name: str) -> Response:
        """Find the instances in an image with one of several models."""
        return await self._answer(request, name)

    async def _invocations(self, request: Request) -> Response:
        """Find the instances in an image. The path of `/endpoints` is the one that boto3 calls."""
        return await self._answer(request, None)

    async def _answer(self, request: Request, model: str | None) -> Response:
        try:
            body = await self._body(request)
        except ClientDisconnect:
            return Response()
        except MaskRCNNError as error:
            return _response(refusal(error, uuid.uuid4().hex))
        caller = self._service.caller()
        with _cancellable(self._running) as scope:
            headers = request.headers
            async with create_task_group() as tasks:
                tasks.start_soon(_leaves, request, caller)
                reply = await to_thread.run_sync(
                    self._service.invoke,
                    body,
                    headers.get("content-type", ""),
                    headers.get("accept", ""),
                    headers.get(ATTRIBUTES, ""),
                    model,
                    caller,
                    limiter=self._limiter,
                    abandon_on_cancel=True,
                )
                tasks.cancel_scope.cancel()
        if scope.cancelled_caught:
            late = NotReady("the server is shutting down; the request took too long")
            return _response(refusal(late, uuid.uuid4().hex))
        return _response(reply)

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
    reply = refusal(RequestError(str(error.detail)), uuid.uuid4().hex)
    return Response(reply.body, error.status_code, error.headers, reply.content_type)


def _response(reply: Reply) -> Response:
    return Response(reply.body, reply.status, dict(reply.headers), reply.content_type)

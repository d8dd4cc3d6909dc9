"""The ASGI front end: SageMaker's routes. It moves bytes, and decides nothing."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, nullcontext
from dataclasses import replace
from typing import TYPE_CHECKING

from anyio import CancelScope, CapacityLimiter, current_time, to_thread
from starlette.applications import Starlette
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Match, Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from maskrcnn_handlers.answer.model_error import model_error
from maskrcnn_handlers.answer.reply import JSON, refusal
from maskrcnn_handlers.http import openapi
from maskrcnn_handlers.http.access import Access, guarded
from maskrcnn_handlers.http.bodies import Bodies
from maskrcnn_handlers.http.connections import MAX_HEADER_BYTES, headers_too_large
from maskrcnn_handlers.http.host import InferenceRoute, PublicRoute, response
from maskrcnn_handlers.observe import request_ids
from maskrcnn_handlers.request.envelope import ATTRIBUTES, TARGET_MODEL, Envelope
from maskrcnn_server.errors import (
    BackendTimedOut,
    MaskRCNNError,
    NotReady,
    RequestError,
    RequestTooSlow,
)

if TYPE_CHECKING:
    from maskrcnn_handlers.answer.reply import Reply
    from maskrcnn_handlers.http.model_management import ModelManagement
    from maskrcnn_handlers.observe.tracing import Tracing
    from maskrcnn_handlers.request.codec import Codec
    from maskrcnn_handlers.service import Service
    from maskrcnn_server.hosting.caller import Caller

MAX_DIGITS = 18
"""Number of digits of a Content-Length that is looked at before the body is read."""


class App:
    """The application; `threads` requests are decoded, answered or refused at a time.

    `routes` are those of plugins. `access` None: everybody's.
    """

    def __init__(
        self,
        service: Service,
        management: ModelManagement,
        threads: int,
        routes: Sequence[BaseRoute] = (),
        access: Access | None = None,
    ) -> None:
        self._service = service
        self._management = management
        self._limiter = CapacityLimiter(threads)
        settings = service.settings
        self._body_timeout_s = settings.body_timeout_s
        self._bodies = Bodies(int(max(settings.max_bodies_mb, settings.max_payload_mb) * 2**20))
        self._reading: set[CancelScope] = set()
        self._running: set[CancelScope] = set()
        self._is_ending = False
        answering = [
            (PublicRoute("/ping", self._ping), {}),
            (Route("/metrics", self._metrics), {}),
            (
                InferenceRoute("/invocations", self._invocations, methods=["POST"]),
                openapi.INVOCATION,
            ),
            (
                InferenceRoute("/endpoints/{name}/invocations", self._endpoint, methods=["POST"]),
                openapi.INVOCATION,
            ),
            *(
                (InferenceRoute(path, self._invoke, methods=["POST"]), openapi.INVOCATION)
                for path in ("/models/{name}/invoke", "/models/{name}/invocations")
            ),
            (Route("/execution-parameters", self._execution_parameters), {}),
            (Route("/models", self._models), openapi.PAGE),
            (Route("/models", self._load, methods=["POST"]), {}),
            (Route("/models/{name}", self._model), {}),
            (Route("/models/{name}", self._unload, methods=["DELETE"]), {}),
        ]
        document = json.dumps(openapi.document(answering)).encode()

        async def described(_: Request) -> Response:
            return Response(document, media_type=JSON)

        own = [route for route, _ in answering]
        app = Starlette(
            routes=[*own, Route("/openapi.json", described), *routes],
            exception_handlers={HTTPException: _no_such_route},
        )
        app.router.redirect_slashes = False
        app.state.front_end = self
        inner = guarded(app, app.routes, access or Access())
        self.asgi = _observed(inner, app.routes, service.tracing)

    def end(self) -> None:
        """Have health checks fail from now on, so that nobody sends more requests."""
        self._is_ending = True

    def stop_reading(self) -> None:
        """Answer requests whose bodies are still on their way without them."""
        for scope in self._reading:
            scope.cancel()

    def abandon(self) -> None:
        """Answer requests that run without waiting for them any longer."""
        for scope in self._running:
            scope.cancel()

    def ping(self) -> Reply:
        """200 once the model answers requests, 503 until then and when the server ends."""
        if self._is_ending:
            return refusal(NotReady("the server is shutting down"))
        return self._service.ping()

    async def _ping(self, _: Request) -> Response:
        """200 once the model answers requests, 503 until then and when the server ends."""
        return response(self.ping())

    async def _metrics(self, _: Request) -> Response:
        """What Prometheus reads."""
        return response(self._service.metrics())

    async def _execution_parameters(self, _: Request) -> Response:
        """How batch transform is to send its files."""
        return response(self._service.execution_parameters())

    async def _models(self, request: Request) -> Response:
        """The models of a server that has several, and their states."""
        return response(self._management.list(request.query_params.get("next_page_token", "")))

    async def _model(self, request: Request) -> Response:
        """One of them: where it came from, and its state."""
        return response(self._management.show(request.path_params["name"]))

    async def _load(self, request: Request) -> Response:
        """Load a model: `{"model_name": ..., "url": ...}`, a folder of this machine."""
        try:
            async with self.body(request) as body:
                return response(await to_thread.run_sync(self._management.load, body))
        except ClientDisconnect:
            return Response()
        except MaskRCNNError as error:
            return response(refusal(error))

    async def _unload(self, request: Request) -> Response:
        """Unload a model."""
        name = request.path_params["name"]
        return response(await to_thread.run_sync(self._management.unload, name))

    async def _invoke(self, request: Request) -> Response:
        """Find the instances in an image with one of several models."""
        return await self._answer(request, request.path_params["name"])

    async def _invocations(self, request: Request) -> Response:
        """Find the instances in an image."""
        return await self._answer(request, request.headers.get(TARGET_MODEL))

    async def _endpoint(self, request: Request) -> Response:
        """The same for boto3's client of SageMaker, with errors as SageMaker answers them."""
        reply = await self._invocations(request)
        return reply if reply.status_code < 400 else response(model_error(reply))

    async def _answer(self, request: Request, model: str | None) -> Response:
        headers = request.headers
        try:
            envelope = Envelope.of(
                b"",
                headers.get("content-type", ""),
                headers.get("accept", ""),
                headers.get(ATTRIBUTES, ""),
                model,
            )
            async with self.body(request) as body:
                return response(await self.reply(request, replace(envelope, body=body)))
        except ClientDisconnect:
            return Response()
        except MaskRCNNError as error:
            return response(self._service.refuse(error))

    async def reply(
        self, request: Request, envelope: Envelope, codec: Codec | None = None
    ) -> Reply:
        """The service's reply, unless the model hangs or the server ends before it."""
        caller = self._service.caller()
        with _cancellable(self._running) as scope:
            scope.deadline = current_time() + self._service.limit_s(envelope)
            # anyio's task group would cost eight times as much.
            leaving = asyncio.create_task(_leaves(request, caller))
            try:
                reply = await to_thread.run_sync(
                    self._service.invoke,
                    envelope,
                    caller,
                    codec,
                    limiter=self._limiter,
                    abandon_on_cancel=True,
                )
            finally:
                leaving.cancel()
        if scope.cancelled_caught:
            if scope.deadline <= current_time():
                hangs = BackendTimedOut("the model does not finish this request")
                return self._service.refuse(hangs)
            return refusal(NotReady("the server is shutting down; the request took too long"))
        return reply

    @asynccontextmanager
    async def body(self, request: Request) -> AsyncIterator[bytes]:
        """The request's body, which counts as in memory while the context lasts.

        Raises ClientDisconnect, and the error to refuse the request with.
        """
        with self._bodies.hold() as hold:
            yield await self._body(request, hold)

    async def _body(self, request: Request, hold: Callable[[int], None]) -> bytes:
        """The request's body; it is not read further, nor longer, than is allowed."""
        declared = request.headers.get("content-length", "")
        if declared.isascii() and declared.isdigit() and len(declared) <= MAX_DIGITS:
            self._service.check_length(int(declared))
        chunks, length = [], 0
        with _cancellable(self._reading) as scope:
            scope.deadline = current_time() + self._body_timeout_s
            async for chunk in request.stream():
                length += len(chunk)
                self._service.check_length(length)
                hold(len(chunk))
                chunks.append(chunk)
        if scope.cancelled_caught:
            if scope.deadline <= current_time():
                raise RequestTooSlow(f"the body took longer than {self._body_timeout_s:g} s")
            raise NotReady("the server is shutting down; the body came too late")
        return b"".join(chunks)


def _observed(app: ASGIApp, routes: Sequence[BaseRoute], tracing: Tracing | None) -> ASGIApp:
    """The application, with an id for each request, which a header of its reply says, and a span if
    there is tracing."""

    def route_of(scope: Scope) -> str | None:
        found = (route for route in routes if route.matches(scope)[0] is Match.FULL)
        return getattr(next(found, None), "path", None)

    async def observed(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        given = [headers.get(name, "") for name in request_ids.GIVEN]
        span = (
            nullcontext(None)
            if tracing is None
            else tracing.request(scope, headers, route_of(scope))
        )
        with request_ids.assigned(*given) as request_id, span as answered:

            async def told(message: Message) -> None:
                if message["type"] == "http.response.start":
                    MutableHeaders(scope=message)[request_ids.HEADER] = request_id
                    if answered is not None:
                        answered(message["status"])
                await send(message)

            if sum(len(name) + len(value) for name, value in headers.raw) > MAX_HEADER_BYTES:
                await response(refusal(headers_too_large()))(scope, receive, told)
            else:
                await app(scope, receive, told)

    return observed


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
    """Tell the scheduler when the client closes the connection: nobody waits for the answer."""
    while (await request.receive())["type"] != "http.disconnect":
        pass
    caller.leave()


async def _no_such_route(_: Request, error: Exception) -> Response:
    if not isinstance(error, HTTPException):
        raise error
    reply = refusal(RequestError(str(error.detail)))
    return Response(reply.body, error.status_code, error.headers, reply.content_type)

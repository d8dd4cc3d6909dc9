"""The ASGI front end: SageMaker's routes. It moves bytes, and decides nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import replace
from typing import TYPE_CHECKING

from anyio import CancelScope, CapacityLimiter, current_time, to_thread
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Match, Route
from starlette.types import Message, Receive, Scope, Send

from maskrcnn_handlers.answer.model_error import model_error
from maskrcnn_handlers.answer.reply import refusal
from maskrcnn_handlers.http.access import Access, shared
from maskrcnn_handlers.http.bodies import Bodies
from maskrcnn_handlers.http.connections import are_too_large, headers_too_large
from maskrcnn_handlers.http.host import InferenceRoute, PublicRoute, response
from maskrcnn_handlers.observe import request_ids
from maskrcnn_handlers.request.envelope import ATTRIBUTES, TARGET_MODEL, Envelope
from maskrcnn_server.errors import BackendTimedOut, MaskRCNNError, NotReady, RequestError

if TYPE_CHECKING:
    from maskrcnn_handlers.answer.reply import Reply
    from maskrcnn_handlers.http.model_management import ModelManagement
    from maskrcnn_handlers.request.envelope import Codec
    from maskrcnn_handlers.service import Service
    from maskrcnn_server.hosting.job import Caller


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
        self._access = access or Access()
        settings = service.settings
        max_bytes = int(max(settings.max_bodies_mb, settings.max_payload_mb) * 2**20)
        self._bodies = Bodies(max_bytes, settings.body_timeout_s, service.check_length)
        self._running: set[CancelScope] = set()
        self._is_ending = False
        post, invoke = ["POST"], self._invoke
        self.routes = [
            PublicRoute("/ping", self._ping),
            Route("/metrics", self._metrics),
            InferenceRoute("/invocations", invoke, methods=post, name="invocations"),
            InferenceRoute("/endpoints/{endpoint}/invocations", self._endpoint, methods=post),
            InferenceRoute("/models/{name}/invoke", invoke, methods=post),
            InferenceRoute("/models/{name}/invocations", invoke, methods=post),
            Route("/execution-parameters", self._execution_parameters),
            Route("/models", self._models),
            Route("/models", self._load, methods=post),
            Route("/models/{name}", self._model),
            Route("/models/{name}", self._unload, methods=["DELETE"]),
        ]
        """The server's own routes."""
        # Those of plugins come first: one of them may answer some requests to a path of ours.
        self._every_route: list[BaseRoute] = [*routes, *self.routes]
        self.asgi = shared(self, self._access)

    def end(self) -> None:
        """Have health checks fail from now on, so that nobody sends more requests."""
        self._is_ending = True

    def stop_reading(self) -> None:
        """Answer requests whose bodies are still on their way without them."""
        self._bodies.stop()

    def abandon(self) -> None:
        """Answer requests that run without waiting for them any longer."""
        for scope in self._running:
            scope.cancel()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Find the route, and who may ask it. Each reply names its request's id; each request is a
        span, if there is tracing."""
        if scope["type"] != "http":
            return
        scope["app"] = self
        headers = Headers(scope=scope)
        request_id = request_ids.assign(*filter(None, map(headers.get, request_ids.GIVEN)))
        route, best = None, Match.NONE
        for candidate in self._every_route:
            match, found = candidate.matches(scope)
            if match.value > best.value:
                route, best, fitting = candidate, match, found
                if match is Match.FULL:
                    break
        allowed = route if best is Match.FULL else None
        tracing = self._service.tracing
        path = getattr(allowed, "path", None)
        span = nullcontext(None) if tracing is None else tracing.request(scope, headers, path)
        with span as answered:

            async def told(message: Message) -> None:
                if message["type"] == "http.response.start":
                    MutableHeaders(scope=message)[request_ids.HEADER] = request_id
                    if answered is not None:
                        answered(message["status"])
                await send(message)

            refused = self._access.refusal(scope["method"], headers, allowed)
            if are_too_large(headers.raw):
                refused = refusal(headers_too_large())
            if refused is not None:
                await response(refused)(scope, receive, told)
                return
            try:
                if route is None:
                    raise HTTPException(404)
                scope.update(fitting)
                await route.handle(scope, receive, told)
            except HTTPException as error:
                reply = refusal(RequestError(error.detail))
                sent = Response(reply.body, error.status_code, error.headers, reply.content_type)
                await sent(scope, receive, told)

    def ping(self) -> Reply:
        """200 once the model answers requests, 503 until then and when the server ends."""
        if self._is_ending:
            return refusal(NotReady("the server is shutting down"))
        return self._service.ping()

    def body(self, request: Request) -> AbstractAsyncContextManager[bytes]:
        """A request's body, which counts as in memory while the context lasts.

        Raises ClientDisconnect, and the error to refuse the request with.
        """
        return self._bodies.body(request)

    async def reply(
        self, request: Request, envelope: Envelope, codec: Codec | None = None
    ) -> Reply:
        """The service's reply, unless the model hangs or the server ends before it."""
        call = self._service.call(envelope, codec=codec)
        # anyio's task group would cost eight times as much.
        leaving = asyncio.create_task(_leaves(request, call.caller))
        scope = CancelScope(deadline=current_time() + call.limit_s)
        self._running.add(scope)
        try:
            with scope:
                return await to_thread.run_sync(
                    self._service.answer, call, limiter=self._limiter, abandon_on_cancel=True
                )
            if scope.deadline <= current_time():
                hangs = BackendTimedOut("the model does not finish this request")
                return self._service.refuse(hangs)
            return refusal(NotReady("the server is shutting down; the request took too long"))
        finally:
            leaving.cancel()
            self._running.discard(scope)

    async def _ping(self, _: Request) -> Response:
        """200 once the model answers requests, 503 until then and when the server ends."""
        return response(self.ping())

    async def _metrics(self, _: Request) -> Response:
        """Metrics for Prometheus."""
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

    async def _endpoint(self, request: Request) -> Response:
        """The same for boto3's client of SageMaker, with errors as SageMaker answers them."""
        reply = await self._invoke(request)
        return reply if reply.status_code < 400 else response(model_error(reply))

    async def _invoke(self, request: Request) -> Response:
        """Find the instances in an image, with the model of this name if there are several."""
        headers = request.headers
        try:
            envelope = Envelope.of(
                b"",
                headers.get("content-type", ""),
                headers.get("accept", ""),
                headers.get(ATTRIBUTES, ""),
                request.path_params.get("name", headers.get(TARGET_MODEL)),
            )
            async with self.body(request) as body:
                return response(await self.reply(request, replace(envelope, body=body)))
        except ClientDisconnect:
            return Response()
        except MaskRCNNError as error:
            return response(self._service.refuse(error))


async def _leaves(request: Request, caller: Caller) -> None:
    """Tell the scheduler when the client closes the connection: nobody waits for the answer."""
    while (await request.receive())["type"] != "http.disconnect":
        pass
    caller.leave()

"""SageMaker's runtime on a laptop: asynchronous and streamed invocations of this server.

Requests and results of asynchronous invocations are files: `local_s3`.
"""

import uuid
from collections.abc import Sequence

from anyio import to_thread
from starlette.background import BackgroundTask
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import BaseRoute, Route

from maskrcnn_handlers.answer.model_error import model_error
from maskrcnn_handlers.answer.reply import Reply
from maskrcnn_handlers.http.host import Host, response
from maskrcnn_handlers.request.envelope import ATTRIBUTES, TARGET_MODEL, Envelope
from maskrcnn_handlers.service import Service
from maskrcnn_predict.addresses import Address, address
from maskrcnn_sagemaker import event_stream
from maskrcnn_sagemaker.local_s3 import Buckets, bounded_body, write
from maskrcnn_server.errors import InvalidSetting, PayloadTooLarge

PREFIX = "X-Amzn-SageMaker-"
OUTPUT, FAILURES = "async-output", "async-failures"
"""Prefixes of results and errors, in the bucket of the request."""


class RuntimeRoutes:
    """Streamed invocations and, with a folder that plays S3, asynchronous ones."""

    name = "sagemaker-runtime"

    def routes(self, host: Host, /) -> Sequence[BaseRoute]:
        runtime = Runtime(host.service)
        stream = "/endpoints/{name}/invocations-response-stream"
        found: list[BaseRoute] = [Route(stream, runtime.stream, methods=["POST"])]
        if host.settings.local_s3 is not None:
            buckets = Buckets(host.settings.local_s3, host.service.check_length)
            invoke = Asynchronous(runtime, buckets).invoke
            found += [
                Route("/endpoints/{name}/async-invocations", invoke, methods=["POST"]),
                *buckets.routes(),
            ]
        return found


class Runtime:
    """Invocations of one service."""

    def __init__(self, service: Service) -> None:
        self._service = service

    async def stream(self, request: Request) -> Response:
        """Find the instances in an image; the answer is an event stream."""
        try:
            body = await bounded_body(request, self._service.check_length)
        except PayloadTooLarge as error:
            return response(model_error(response(self._service.refuse(error))))
        reply = await self.answer(request, body, "Content-Type", f"{PREFIX}Accept")
        if reply.status >= 400:
            return response(model_error(response(reply)))
        headers = {f"{PREFIX}Content-Type": reply.content_type}
        events = event_stream.events(reply.body)
        return StreamingResponse(events, 200, headers, event_stream.CONTENT_TYPE)

    async def answer(self, request: Request, body: bytes, content_type: str, accept: str) -> Reply:
        """The reply to a body; the request's headers of these names describe it."""
        headers = request.headers
        envelope = Envelope.of(
            body,
            headers.get(content_type, ""),
            headers.get(accept, ""),
            headers.get(ATTRIBUTES, ""),
            headers.get(TARGET_MODEL),
        )
        return await to_thread.run_sync(self._service.invoke, envelope)


class Asynchronous:
    """Invocations whose requests and results are objects."""

    def __init__(self, runtime: Runtime, buckets: Buckets) -> None:
        self._runtime = runtime
        self._buckets = buckets

    async def invoke(self, request: Request) -> Response:
        """202 with the places of the result and of an error, of which one comes later."""
        asked = request.headers.get(f"{PREFIX}InputLocation", "")
        try:
            source = address(asked)
        except InvalidSetting as error:
            return _invalid(error.message)
        path = self._buckets.file(source.bucket, source.key)
        if path is None or not path.is_file():
            return _invalid(f"{asked}: no such object below MASKRCNN_LOCAL_S3")
        given = request.headers.get(f"{PREFIX}Inference-Id", "")
        inference = given or str(uuid.uuid4())
        name = f"{uuid.uuid4()}.out"
        output = Address(source.bucket, f"{OUTPUT}/{name}")
        failure = Address(source.bucket, f"{FAILURES}/{name}")

        async def answer() -> None:
            body = await to_thread.run_sync(path.read_bytes)
            names = f"{PREFIX}Content-Type", f"{PREFIX}Accept"
            reply = await self._runtime.answer(request, body, *names)
            place = output if reply.status < 400 else failure
            target = self._buckets.file(place.bucket, place.key)
            if target is not None:
                await to_thread.run_sync(write, target, reply.body)

        headers = {
            f"{PREFIX}OutputLocation": str(output),
            f"{PREFIX}FailureLocation": str(failure),
        }
        content = {"InferenceId": inference}
        return JSONResponse(content, 202, headers, background=BackgroundTask(answer))


def _invalid(message: str) -> Response:
    headers = {"x-amzn-ErrorType": "ValidationError"}
    return JSONResponse({"Message": message, "message": message}, 400, headers)

"""The ASGI front end: SageMaker's routes. It moves bytes, and decides nothing."""

import uuid
from typing import Any

from anyio import CapacityLimiter, to_thread
from fastapi import FastAPI, Request, Response
from starlette.exceptions import HTTPException

from maskrcnn_handlers.requests import JsonRequest
from maskrcnn_handlers.service import Reply, Service, refusal
from maskrcnn_server.errors import MaskRCNNError, RequestError

ATTRIBUTES = "X-Amzn-SageMaker-Custom-Attributes"

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


def app(service: Service, threads: int) -> FastAPI:
    """The application; `threads` requests are decoded, answered or refused at a time."""
    application = FastAPI(
        title="maskrcnn_server",
        description="Instance segmentation: boxes, classes, scores and masks.",
    )
    limiter = CapacityLimiter(threads)

    @application.get("/ping")
    async def ping() -> Response:
        """200 once the model answers requests, 503 until then."""
        return _response(service.ping())

    @application.post("/invocations", openapi_extra=INVOCATION)
    @application.post("/endpoints/{name}/invocations", openapi_extra=INVOCATION)
    async def invocations(request: Request) -> Response:
        """Find the instances in an image. The second path is the one that boto3 calls."""
        try:
            body = await _body(request, service)
        except MaskRCNNError as error:
            return _response(refusal(error, uuid.uuid4().hex))
        headers = request.headers
        reply = await to_thread.run_sync(
            service.invoke,
            body,
            headers.get("content-type", ""),
            headers.get("accept", ""),
            headers.get(ATTRIBUTES, ""),
            limiter=limiter,
        )
        return _response(reply)

    @application.exception_handler(HTTPException)
    async def no_such_route(_: Request, error: HTTPException) -> Response:
        reply = refusal(RequestError(str(error.detail)), uuid.uuid4().hex)
        return Response(reply.body, error.status_code, error.headers, reply.content_type)

    return application


async def _body(request: Request, service: Service) -> bytes:
    """The request's body; it is not read further than its size is allowed."""
    declared = request.headers.get("content-length", "")
    if declared.isdigit():
        service.check_length(int(declared))
    chunks, length = [], 0
    async for chunk in request.stream():
        length += len(chunk)
        service.check_length(length)
        chunks.append(chunk)
    return b"".join(chunks)


def _response(reply: Reply) -> Response:
    return Response(reply.body, reply.status, dict(reply.headers), reply.content_type)

"""SageMaker's runtime on a laptop: asynchronous and streamed invocations of this server.

A folder plays S3. `/s3` answers the few calls that clients of asynchronous endpoints make, so that
boto3 works with `endpoint_url`.
"""

import hashlib
import uuid
from collections.abc import Sequence
from pathlib import Path
from xml.sax.saxutils import escape

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
            bucket = Buckets(host.settings.local_s3)
            asynchronous = Asynchronous(runtime, bucket)
            invoke = asynchronous.invoke
            found += [
                Route("/endpoints/{name}/async-invocations", invoke, methods=["POST"]),
                Route("/s3/{bucket}", bucket.list),
                Route("/s3/{bucket}/{key:path}", bucket.get),
                Route("/s3/{bucket}/{key:path}", bucket.put, methods=["PUT"]),
            ]
        return found


class Runtime:
    """Invocations of one service."""

    def __init__(self, service: Service) -> None:
        self._service = service

    async def stream(self, request: Request) -> Response:
        """Find the instances in an image; the answer is an event stream."""
        try:
            body = await self._body(request)
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

    async def _body(self, request: Request) -> bytes:
        chunks, length = [], 0
        async for chunk in request.stream():
            length += len(chunk)
            self._service.check_length(length)
            chunks.append(chunk)
        return b"".join(chunks)


class Buckets:
    """A folder whose folders are buckets, with the calls of S3 that are needed here."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder.resolve()

    def file(self, bucket: str, key: str) -> Path | None:
        """The file of an object, which may not exist; None for a key that leaves the folder."""
        root = (self._folder / bucket).resolve()
        path = (root / key).resolve()
        inside = root.parent == self._folder and path.is_relative_to(root)
        return path if inside else None

    async def get(self, request: Request) -> Response:
        """GetObject and HeadObject."""
        path = self._asked(request)
        if path is None or not path.is_file():
            return _s3_error("NoSuchKey", 404)
        body = await to_thread.run_sync(path.read_bytes)
        return Response(body, headers={"ETag": _etag(body)}, media_type="binary/octet-stream")

    async def put(self, request: Request) -> Response:
        """PutObject."""
        path = self._asked(request)
        if path is None:
            return _s3_error("InvalidRequest", 400)
        body = await request.body()
        await to_thread.run_sync(_write, path, body)
        return Response(headers={"ETag": _etag(body)})

    async def list(self, request: Request) -> Response:
        """ListObjectsV2."""
        bucket = request.path_params["bucket"]
        prefix = request.query_params.get("prefix", "")
        root = self.file(bucket, "")
        files = sorted(root.rglob("*")) if root is not None else []
        found = [(str(p.relative_to(root)), p) for p in files if root and p.is_file()]
        items = "".join(
            f"<Contents><Key>{escape(key)}</Key><ETag>{_etag(path.read_bytes())}</ETag>"
            f"<Size>{path.stat().st_size}</Size></Contents>"
            for key, path in found
            if key.startswith(prefix)
        )
        return _xml(f"<ListBucketResult><IsTruncated>false</IsTruncated>{items}</ListBucketResult>")

    def _asked(self, request: Request) -> Path | None:
        return self.file(request.path_params["bucket"], request.path_params["key"])


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
                await to_thread.run_sync(_write, target, reply.body)

        headers = {
            f"{PREFIX}OutputLocation": str(output),
            f"{PREFIX}FailureLocation": str(failure),
        }
        content = {"InferenceId": inference}
        return JSONResponse(content, 202, headers, background=BackgroundTask(answer))


def _invalid(message: str) -> Response:
    headers = {"x-amzn-ErrorType": "ValidationError"}
    return JSONResponse({"Message": message, "message": message}, 400, headers)


def _write(path: Path, body: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    part.write_bytes(body)
    part.replace(path)


def _etag(body: bytes) -> str:
    return f'"{hashlib.md5(body, usedforsecurity=False).hexdigest()}"'


def _xml(content: str, status: int = 200) -> Response:
    return Response(f'<?xml version="1.0"?>{content}', status, media_type="application/xml")


def _s3_error(code: str, status: int) -> Response:
    return _xml(f"<Error><Code>{code}</Code><Message>{code}</Message></Error>", status)

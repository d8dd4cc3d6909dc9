"""S3 on a laptop: a folder whose folders are buckets.

`/s3` answers the few calls that clients of asynchronous endpoints make, so that boto3 and
SageMaker's SDKs work with `endpoint_url`.
"""

import hashlib
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path
from xml.sax.saxutils import escape

from anyio import to_thread
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from maskrcnn_server.errors import PayloadTooLarge

CREATED = "<CreationDate>2020-01-01T00:00:00Z</CreationDate>"
"""Date of every bucket: clients only ask whether there is one."""


class Buckets:
    """A folder whose folders are buckets, with the calls of S3 that are needed here.

    `check_length` raises PayloadTooLarge for a number of bytes that no request may have.
    """

    def __init__(self, folder: Path, check_length: Callable[[int], None]) -> None:
        self._folder = folder.resolve()
        self._check_length = check_length

    def routes(self) -> Sequence[BaseRoute]:
        """Routes of buckets and objects. GET answers HEAD, too."""
        return (
            *(Route(path, self.buckets) for path in ("/s3", "/s3/")),
            Route("/s3/{bucket}", self.list),
            Route("/s3/{bucket}", self.create, methods=["PUT"]),
            Route("/s3/{bucket}/{key:path}", self.get),
            Route("/s3/{bucket}/{key:path}", self.put, methods=["PUT"]),
        )

    def file(self, bucket: str, key: str) -> Path | None:
        """The file of an object, which may not exist; None for a key that leaves the folder."""
        root = (self._folder / bucket).resolve()
        path = (root / key).resolve()
        inside = root.parent == self._folder and path.is_relative_to(root)
        return path if inside else None

    async def buckets(self, request: Request) -> Response:  # noqa: ARG002 (a route's)
        """ListBuckets."""
        folders = sorted(self._folder.iterdir()) if self._folder.is_dir() else []
        items = "".join(
            f"<Bucket><Name>{escape(folder.name)}</Name>{CREATED}</Bucket>"
            for folder in folders
            if folder.is_dir()
        )
        return _xml(f"<ListAllMyBucketsResult><Buckets>{items}</Buckets></ListAllMyBucketsResult>")

    async def create(self, request: Request) -> Response:
        """CreateBucket."""
        folder = self.file(request.path_params["bucket"], "")
        if folder is None:
            return _error("InvalidBucketName", 400)
        folder.mkdir(parents=True, exist_ok=True)
        return Response()

    async def get(self, request: Request) -> Response:
        """GetObject and HeadObject."""
        path = self._asked(request)
        if path is None or not path.is_file():
            return _error("NoSuchKey", 404)
        body = await to_thread.run_sync(path.read_bytes)
        return Response(body, headers={"ETag": _etag(body)}, media_type="binary/octet-stream")

    async def put(self, request: Request) -> Response:
        """PutObject."""
        path = self._asked(request)
        if path is None:
            return _error("InvalidRequest", 400)
        try:
            body = await bounded_body(request, self._check_length)
        except PayloadTooLarge:
            return _error("EntityTooLarge", 400)
        await to_thread.run_sync(write, path, body)
        return Response(headers={"ETag": _etag(body)})

    async def list(self, request: Request) -> Response:
        """ListObjectsV2 and HeadBucket."""
        root = self.file(request.path_params["bucket"], "")
        if root is None or not root.is_dir():
            return _error("NoSuchBucket", 404)
        prefix = request.query_params.get("prefix", "")
        found = [(str(path.relative_to(root)), path) for path in sorted(root.rglob("*"))]
        items = "".join(
            f"<Contents><Key>{escape(key)}</Key><ETag>{_etag(path.read_bytes())}</ETag>"
            f"<Size>{path.stat().st_size}</Size></Contents>"
            for key, path in found
            if key.startswith(prefix) and path.is_file()
        )
        return _xml(f"<ListBucketResult><IsTruncated>false</IsTruncated>{items}</ListBucketResult>")

    def _asked(self, request: Request) -> Path | None:
        return self.file(request.path_params["bucket"], request.path_params["key"])


async def bounded_body(request: Request, check_length: Callable[[int], None]) -> bytes:
    """The request's body. Raises what `check_length` raises for its length so far."""
    chunks, length = [], 0
    async for chunk in request.stream():
        length += len(chunk)
        check_length(length)
        chunks.append(chunk)
    return b"".join(chunks)


def write(path: Path, body: bytes) -> None:
    """Write a file at once, so that nobody reads half of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    part.write_bytes(body)
    part.replace(path)


def _etag(body: bytes) -> str:
    return f'"{hashlib.md5(body, usedforsecurity=False).hexdigest()}"'


def _xml(content: str, status: int = 200) -> Response:
    return Response(f'<?xml version="1.0"?>{content}', status, media_type="application/xml")


def _error(code: str, status: int) -> Response:
    return _xml(f"<Error><Code>{code}</Code><Message>{code}</Message></Error>", status)

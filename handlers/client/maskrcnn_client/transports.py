"""How requests get to a server and replies back: over HTTP."""

from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import (
    AbstractAsyncContextManager,
    AbstractContextManager,
    AsyncExitStack,
    ExitStack,
    asynccontextmanager,
    contextmanager,
)
from typing import Protocol, TypeAlias
from urllib.parse import urlsplit

import httpx

from maskrcnn_client.errors import (
    ConnectionBroken,
    IncompleteReply,
    InvalidTarget,
    ServerUnreachable,
)
from maskrcnn_client.replies import Reply, Request

ACCEPT = "application/json"
LINES = "application/x-ndjson"
"""Media type of streamed replies."""
ATTRIBUTES = "X-Amzn-SageMaker-Custom-Attributes"


Opened: TypeAlias = tuple[Reply, Iterator[bytes]]
"""A reply, and its body piece by piece if it is streamed."""
AsyncOpened: TypeAlias = tuple[Reply, AsyncIterator[bytes]]


class Transport(Protocol):
    """A way to a server, for any thread."""

    @property
    def limit_mb(self) -> float | None:
        """MiB that a request may have, if that is known before one is sent."""

    def send(self, request: Request) -> Reply:
        """Raises ServerUnreachable; ConnectionBroken if it may be worth another try."""

    def opened(self, request: Request) -> AbstractContextManager[Opened]:
        """The reply to a request for a streamed one. Raises as `send`; IncompleteReply later."""

    def close(self) -> None: ...


class AsyncTransport(Protocol):
    """The same for a coroutine."""

    @property
    def limit_mb(self) -> float | None: ...

    async def send(self, request: Request) -> Reply: ...

    def opened(self, request: Request) -> AbstractAsyncContextManager[AsyncOpened]: ...

    async def close(self) -> None: ...


class Http:
    """A server at a URL; `/invocations` if the URL has no path."""

    limit_mb = None

    def __init__(self, url: str, timeout_s: float, headers: Mapping[str, str]) -> None:
        self._url = address(url)
        self._client = httpx.Client(timeout=timeout_s, headers={"Accept": ACCEPT, **headers})

    def send(self, request: Request) -> Reply:
        try:
            reply = self._client.post(self._url, content=request.body, headers=_headers(request))
        except httpx.TransportError as error:
            raise _broken(self._url, error) from error
        return _reply(reply)

    @contextmanager
    def opened(self, request: Request) -> Iterator[Opened]:
        asked = self._client.stream(
            "POST", self._url, content=request.body, headers=_headers(request, LINES)
        )
        with ExitStack() as stack:
            try:
                reply = stack.enter_context(asked)
                if not _is_streamed(reply):
                    reply.read()
            except httpx.TransportError as error:
                raise _broken(self._url, error) from error
            yield _reply(reply), self._pieces(reply)

    def _pieces(self, reply: httpx.Response) -> Iterator[bytes]:
        try:
            if _is_streamed(reply):
                yield from reply.iter_bytes()
        except httpx.TransportError as error:
            raise _cut(self._url, error) from error

    def close(self) -> None:
        self._client.close()


class AsyncHttp:
    """The same for a coroutine."""

    limit_mb = None

    def __init__(self, url: str, timeout_s: float, headers: Mapping[str, str]) -> None:
        self._url = address(url)
        self._client = httpx.AsyncClient(timeout=timeout_s, headers={"Accept": ACCEPT, **headers})

    async def send(self, request: Request) -> Reply:
        headers = _headers(request)
        try:
            reply = await self._client.post(self._url, content=request.body, headers=headers)
        except httpx.TransportError as error:
            raise _broken(self._url, error) from error
        return _reply(reply)

    @asynccontextmanager
    async def opened(self, request: Request) -> AsyncIterator[AsyncOpened]:
        asked = self._client.stream(
            "POST", self._url, content=request.body, headers=_headers(request, LINES)
        )
        async with AsyncExitStack() as stack:
            try:
                reply = await stack.enter_async_context(asked)
                if not _is_streamed(reply):
                    await reply.aread()
            except httpx.TransportError as error:
                raise _broken(self._url, error) from error
            yield _reply(reply), self._pieces(reply)

    async def _pieces(self, reply: httpx.Response) -> AsyncIterator[bytes]:
        try:
            if _is_streamed(reply):
                async for piece in reply.aiter_bytes():
                    yield piece
        except httpx.TransportError as error:
            raise _cut(self._url, error) from error

    async def close(self) -> None:
        await self._client.aclose()


def address(url: str) -> str:
    """Where requests are posted. Raises InvalidTarget."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise InvalidTarget(f"{shown(url)}: not an http:// or https:// address")
    return parts._replace(path="/invocations").geturl() if parts.path in ("", "/") else url


def shown(url: str) -> str:
    """The address without what may be secret in it: user, password, query."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def _headers(request: Request, accept: str | None = None) -> dict[str, str]:
    headers = {"Content-Type": request.content_type, ATTRIBUTES: request.options}
    return headers if accept is None else {**headers, "Accept": accept}


def _reply(reply: httpx.Response) -> Reply:
    headers = reply.headers
    after = seconds(headers.get("retry-after"))
    is_streamed = not reply.is_closed and _is_streamed(reply)
    body = b"" if is_streamed else reply.content
    return Reply(reply.status_code, body, after, headers.get(ATTRIBUTES, ""), is_streamed)


def _is_streamed(reply: httpx.Response) -> bool:
    return reply.status_code == 200 and is_lines(reply.headers.get("content-type", ""))


def is_lines(content_type: str) -> bool:
    """Whether it is the media type of streamed replies."""
    return content_type.partition(";")[0].strip().lower() == LINES


def seconds(retry_after: str | None) -> float | None:
    """Seconds in a Retry-After header; its other form, a date, is not read."""
    digits = (retry_after or "").strip()
    return float(digits) if digits.isascii() and digits.isdigit() else None


def _broken(url: str, error: Exception) -> ServerUnreachable:
    """The error; a server that cannot be reached, or takes too long, is not asked again."""
    final = isinstance(error, httpx.ConnectError | httpx.TimeoutException | httpx.ProxyError)
    kind = ServerUnreachable if final else ConnectionBroken
    return kind(f"{shown(url)}: {type(error).__name__}: {error}".rstrip(": "))


def _cut(url: str, error: Exception) -> IncompleteReply:
    return IncompleteReply(
        f"{shown(url)}: the reply was cut off: {type(error).__name__}: {error}".rstrip(": ")
    )

"""An HTTP client with little overhead, so that the server is measured.

It sends prepared bytes, keeps connections, and parses only status and length of a reply.
"""

import asyncio
import ssl
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from maskrcnn_server.errors import InvalidSetting

ATTRIBUTES = "X-Amzn-SageMaker-Custom-Attributes"


@dataclass(frozen=True)
class Question:
    """A request: body, content type and attributes."""

    body: bytes
    content_type: str
    attributes: str = ""
    """SageMaker's custom attributes."""


@dataclass(frozen=True)
class Address:
    """Address that requests are posted to."""

    host: str
    port: int
    path: str
    tls: bool = False
    api_key: str = field(default="", repr=False)
    """Key of the server. Empty: none is sent."""

    def head(self, method: str, path: str) -> list[str]:
        """The first lines of a request."""
        key = [f"Authorization: Bearer {self.api_key}"] if self.api_key else []
        return [f"{method} {path} HTTP/1.1", f"Host: {self.host}:{self.port}", *key]


@dataclass(frozen=True)
class Answer:
    """A reply."""

    status: int
    body: bytes


def address(url: str) -> Address:
    """The address of a URL, with `/invocations` if it has no path. Raises InvalidSetting."""
    parts = urlsplit(url if "://" in url else f"http://{url}")
    try:
        port = parts.port
    except ValueError:
        raise InvalidSetting(f"{url}: its port is no number from 0 to 65535") from None
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise InvalidSetting(f"{url}: not an http:// or https:// address")
    tls = parts.scheme == "https"
    path = parts.path if parts.path not in ("", "/") else "/invocations"
    query = f"?{parts.query}" if parts.query else ""
    return Address(parts.hostname, port or (443 if tls else 80), path + query, tls)


def posted(to: Address, question: Question) -> bytes:
    """The bytes of a POST request."""
    lines = [
        *to.head("POST", to.path),
        f"Content-Type: {question.content_type}",
        f"Content-Length: {len(question.body)}",
    ]
    if question.attributes:
        lines.append(f"{ATTRIBUTES}: {question.attributes}")
    return "\r\n".join([*lines, "", ""]).encode() + question.body


def got(to: Address, path: str) -> bytes:
    """The bytes of a GET request for `path` at the same address."""
    return "\r\n".join([*to.head("GET", path), "", ""]).encode()


class Connection:
    """A connection for one request at a time, opened on first use and kept."""

    def __init__(self, to: Address) -> None:
        self._to = to
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def ask(self, request: bytes) -> Answer:
        """The reply to a request. Raises OSError, or ValueError for a reply that is not HTTP.

        A server may close a kept connection at any time; the request is then sent again on a new
        one.
        """
        kept = self._streams is not None and not self._streams[0].at_eof()
        try:
            return await self._asked(request)
        except ConnectionError:
            if not kept:
                raise
        return await self._asked(request)

    def close(self) -> None:
        """Close the connection; the next request opens it again."""
        if self._streams is not None:
            self._streams[1].close()
        self._streams = None

    async def _asked(self, request: bytes) -> Answer:
        if self._streams is None or self._streams[0].at_eof():
            self.close()
            context = ssl.create_default_context() if self._to.tls else None
            self._streams = await asyncio.open_connection(self._to.host, self._to.port, ssl=context)
        reader, writer = self._streams
        whole = False
        try:
            writer.write(request)
            await writer.drain()
            answer, keep = await read_answer(reader)
            whole = keep
        except (asyncio.IncompleteReadError, asyncio.LimitOverrunError) as error:
            raise ConnectionResetError(f"the answer ended early: {error}") from error
        finally:
            if not whole:
                self.close()
        return answer


async def read_answer(reader: asyncio.StreamReader) -> tuple[Answer, bool]:
    """A reply, and whether the connection can be used again."""
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    start, *lines = head[:-4].split(b"\r\n")
    if not start.startswith(b"http/1."):
        raise ValueError(f"not an HTTP/1 answer: {start[:40]!r}")
    headers = {name.strip(): value.strip() for name, _, value in (x.partition(b":") for x in lines)}
    keep = headers.get(b"connection") != b"close" and not start.startswith(b"http/1.0")
    if headers.get(b"transfer-encoding") == b"chunked":
        body = await _chunks(reader)
    elif b"content-length" in headers:
        body = await reader.readexactly(int(headers[b"content-length"]))
    else:
        body, keep = await reader.read(), False
    return Answer(int(start[9:12]), body), keep


async def _chunks(reader: asyncio.StreamReader) -> bytes:
    chunks = []
    while length := int((await reader.readuntil(b"\r\n")).partition(b";")[0], 16):
        chunks.append(await reader.readexactly(length))
        await reader.readexactly(2)
    while await reader.readuntil(b"\r\n") != b"\r\n":
        pass
    return b"".join(chunks)

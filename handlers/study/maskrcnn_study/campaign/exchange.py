"""One request and its reply, on a connection of its own."""

import asyncio
import contextlib
from dataclasses import dataclass

from maskrcnn_study.benchmark.client import Answer, read_answer

REPLY_TIMEOUT_S = 60
"""Longest wait for a reply: more than any request may take in this server."""
MAX_IDLE_S = 0.5
"""Longest time from the opening of a connection to its request, below the server's time limit."""
FAULTS = (OSError, asyncio.TimeoutError, EOFError, ValueError, asyncio.LimitOverrunError)
"""What a connection without a whole reply raises."""


@dataclass(frozen=True)
class Place:
    """Address of a server."""

    host: str
    port: int


async def exchange(
    place: Place, request: bytes, timeout_s: float = REPLY_TIMEOUT_S
) -> Answer | None:
    """The reply to a request; None if there is none. Raises ConnectionRefusedError.

    The reply is read while the request is sent: a refusal may come before the end of a body.
    """
    try:
        reader, writer = await _opened(place)
    except ConnectionRefusedError:
        raise
    except OSError:
        return None
    try:
        writer.write(request)
        return (await asyncio.wait_for(read_answer(reader), timeout_s))[0]
    except FAULTS:
        return None
    finally:
        with contextlib.suppress(Exception):
            writer.transport.abort()


async def _opened(place: Place) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A new connection. One that this process left idle for too long, while it was busy, is given
    up: the server may be about to close it."""
    loop = asyncio.get_running_loop()
    while True:
        start = loop.time()
        reader, writer = await asyncio.open_connection(place.host, place.port)
        if loop.time() - start < MAX_IDLE_S:
            return reader, writer
        writer.transport.abort()


def post(path: str, content_type: str, body: bytes, *lines: str) -> bytes:
    """The bytes of a POST request with these further lines of headers."""
    head = [
        f"POST {path} HTTP/1.1",
        "Host: 127.0.0.1",
        f"Content-Length: {len(body)}",
        *([f"Content-Type: {content_type}"] if content_type else []),
        *lines,
        "",
        "",
    ]
    return "\r\n".join(head).encode("latin-1", "replace") + body

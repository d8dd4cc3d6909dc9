"""A request and a reply of HTTP, whole, as they go from one process to another."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message

Headers = list[tuple[bytes, bytes]]
"""Names in small letters, and values."""


@dataclass(frozen=True)
class Forwarded:
    """A request."""

    method: str
    path: str
    query: bytes
    headers: Headers
    body: bytes


@dataclass
class Replied:
    """The reply to it."""

    status: int = 500
    headers: Headers = field(default_factory=list)
    body: bytes = b""


async def answered(app: ASGIApp, asked: Forwarded) -> Replied:
    """The application's reply to a request."""
    reply = Replied()
    chunks: list[bytes] = []

    body = [asked.body]

    async def receive() -> Message:
        if not body:
            # Nobody says when a client goes: Ray Serve cancels the call.
            await asyncio.Event().wait()
        return {"type": "http.request", "body": body.pop(), "more_body": False}

    async def send(message: Message) -> None:
        if message["type"] == "http.response.start":
            reply.status = message["status"]
            reply.headers = [(bytes(name), bytes(value)) for name, value in message["headers"]]
        else:
            chunks.append(message.get("body", b""))

    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": asked.method,
        "scheme": "http",
        "path": asked.path,
        "raw_path": asked.path.encode(),
        "root_path": "",
        "query_string": asked.query,
        "headers": asked.headers,
        "client": None,
        "server": None,
    }
    await app(scope, receive, send)
    reply.body = b"".join(chunks)
    return reply

"""Connections that cost little, whatever the client does: uvicorn's protocols, with limits."""

from __future__ import annotations

import asyncio
import logging
import resource
from collections.abc import Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import h11
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from maskrcnn_handlers.answer.reply import refusal
from maskrcnn_handlers.http.host import response
from maskrcnn_handlers.observe import request_ids
from maskrcnn_server.errors import HeadersTooLarge, Overloaded, RequestError, RequestTooSlow

if TYPE_CHECKING:
    from maskrcnn_server.errors import MaskRCNNError
    from maskrcnn_server.settings import Settings

    _Base = H11Protocol
else:
    _Base = object

try:
    from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
except ImportError:
    HttpToolsProtocol = None  # type: ignore[assignment,misc]

MAX_HEADER_BYTES = 1 << 16
"""Size of a request's line and headers at most."""
MAX_HEADERS = 256
"""Number of headers of a request at most. Each costs as much as hundreds of bytes of one."""
MAX_PIPELINED = 32
"""Number of requests of a connection that wait for the replies to earlier ones at most. More are
parsed at once, while nothing else is answered."""
LINGER_S = 2.0
"""Seconds in which a client that is refused may still send, so that it gets to read the reply."""
CLOSE_S = 5.0
"""Seconds without reading after which a client loses its reply when the server ends."""
MAX_WAITS = 10
"""Number of write timeouts that a client may make one reply wait in all. A streamed reply waits
often."""
OWN_FILES = 40
"""Number of file descriptors that are kept for health checks, and for what is no connection."""
PINGS = ("/ping", "/metrics")

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Limits:
    """Limits of connections."""

    max_connections: int
    headers_timeout_s: float
    write_timeout_s: float
    max_unread_bytes: int
    """Size of replies, of all connections together, that clients do not read."""


def limits(settings: Settings) -> Limits:
    """The limits of these settings; fewer connections if the process may not open more files.

    Raises the process's own limit of files as far as that is allowed.
    """
    wanted = settings.max_connections
    needed = wanted + OWN_FILES
    files, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    if 0 <= files < needed:
        files = needed if most < 0 else min(needed, most)
        resource.setrlimit(resource.RLIMIT_NOFILE, (files, most))
        if files < needed:
            wanted = max(1, files - OWN_FILES)
            logger.warning(
                "at most %d files may be open (ulimit -n), so at most %d connections, not %d",
                files,
                wanted,
                settings.max_connections,
            )
    return Limits(
        wanted,
        settings.headers_timeout_s,
        settings.write_timeout_s,
        int(max(settings.max_bodies_mb, settings.max_payload_mb) * 2**20),
    )


class _Bounded(_Base):
    """Limits that both of uvicorn's protocols lack."""

    in_head: bool
    """Whether no more than a part of the next request's headers has been read."""

    def __init__(self, limits: Limits, **given: Any) -> None:
        super().__init__(**given)
        self._limits = limits
        self._head_bytes = 0
        self._lingers = False
        self._reading: asyncio.TimerHandle | None = None
        self._writing: asyncio.TimerHandle | None = None
        self._paused_at, self._waited_s = 0.0, 0.0
        self.idle_since = self.loop.time()
        """Time at which the last reply was complete, or the connection was made."""

    @property
    def is_idle(self) -> bool:
        """Whether no request is being answered."""
        return self.cycle is None or self.cycle.response_complete

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if len(self.connections) > self._limits.max_connections and not self._make_room():
            self.app = _pings_only(self.app)
        self._await_headers()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._unset_keepalive_if_required()
        self._stop_timers()

    def data_received(self, data: bytes) -> None:
        if self._lingers:
            return
        before, was_in_head = self.cycle, self.in_head
        super().data_received(data)
        if self._lingers or self.transport.is_closing():
            return
        if self.cycle is not before:
            self._head_bytes = 0
        elif was_in_head and self.in_head:
            self._head_bytes += len(data)
            if self._head_bytes > MAX_HEADER_BYTES:
                self.refuse(headers_too_large())
                return
        if not self.is_idle:
            self._cancel_reading()
        elif self._reading is None:
            self._await_headers()

    def send_400_response(self, msg: str) -> None:
        self.refuse(self._fault(msg))

    def _fault(self, message: str) -> MaskRCNNError:
        """The error of a request that could not be parsed."""
        return RequestError(f"not HTTP/1.1: {message}")

    def refuse(self, error: MaskRCNNError) -> None:
        """Reply with an error, and close the connection."""
        if self._lingers:
            return
        if not self.is_idle:
            cycle = self.cycle
            if getattr(self, "pipeline", ()) or cycle.response_started or not cycle.more_body:
                # The reply to an earlier request is on its way; what follows is not read.
                cycle.keep_alive = False
                self.flow.pause_reading()
                return
            cycle.disconnected = True
            cycle.message_event.set()
        with request_ids.assigned() as request_id:
            reply = refusal(error)
        headers = {
            "Content-Type": reply.content_type,
            "Content-Length": str(len(reply.body)),
            "Connection": "close",
            request_ids.HEADER: request_id,
            **reply.headers,
        }
        lines = [f"HTTP/1.1 {reply.status} {HTTPStatus(reply.status).phrase}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        self.transport.write("\r\n".join([*lines, "", ""]).encode("latin-1") + reply.body)
        self._lingers = True
        self._unset_keepalive_if_required()
        self._stop_timers()
        self.flow.resume_reading()
        self.transport.write_eof()
        self._reading = self.loop.call_later(LINGER_S, self.transport.abort)

    def on_response_complete(self) -> None:
        self.idle_since = self.loop.time()
        self._head_bytes = 0
        self._waited_s = 0.0
        super().on_response_complete()
        if self.transport.get_write_buffer_size():
            self._await_writing(self._limits.write_timeout_s)

    def pause_writing(self) -> None:
        super().pause_writing()
        unread = sum(one.transport.get_write_buffer_size() for one in self.connections)
        if unread > self._limits.max_unread_bytes:
            self.transport.abort()
            return
        self._paused_at, timeout_s = self.loop.time(), self._limits.write_timeout_s
        self._await_writing(min(timeout_s, MAX_WAITS * timeout_s - self._waited_s))

    def resume_writing(self) -> None:
        super().resume_writing()
        self._waited_s += self.loop.time() - self._paused_at
        if self._writing is not None:
            self._writing.cancel()
            self._writing = None

    def shutdown(self) -> None:
        super().shutdown()
        self._end_unless_read()

    def _make_room(self) -> bool:
        """Close the connection that has been idle for longest. False if there is none."""
        idle = [
            one
            for one in self.connections
            if isinstance(one, _Bounded) and one is not self and one.is_idle
        ]
        if not idle:
            return False
        oldest = min(idle, key=lambda one: one.idle_since)
        self.connections.discard(oldest)
        oldest.transport.abort()
        return True

    def _await_headers(self) -> None:
        self._cancel_reading()
        self._reading = self.loop.call_later(self._limits.headers_timeout_s, self._read_too_slowly)

    def _read_too_slowly(self) -> None:
        self._reading = None
        if self._head_bytes:
            self.refuse(RequestTooSlow("the headers took too long"))
        else:
            self.transport.close()

    def _await_writing(self, timeout_s: float) -> None:
        if self._writing is not None:
            self._writing.cancel()
        self._writing = self.loop.call_later(timeout_s, self._written_too_slowly)

    def _written_too_slowly(self) -> None:
        self._writing = None
        if self.transport.get_write_buffer_size():
            self.transport.abort()

    def _end_unless_read(self, unread_before: int | None = None) -> None:
        """Close the connection if its client has read nothing for a while."""
        unread = self.transport.get_write_buffer_size()
        if unread_before is not None and unread >= unread_before:
            self.transport.abort()
        elif unread:
            self.loop.call_later(CLOSE_S, self._end_unless_read, unread)

    def _cancel_reading(self) -> None:
        if self._reading is not None:
            self._reading.cancel()
            self._reading = None

    def _stop_timers(self) -> None:
        self._cancel_reading()
        if self._writing is not None:
            self._writing.cancel()
            self._writing = None


class BoundedH11(_Bounded, H11Protocol):
    """The protocol in Python alone."""

    @property
    def in_head(self) -> bool:  # type: ignore[override]
        return self.conn.their_state is h11.IDLE


if HttpToolsProtocol is not None:

    class BoundedHttpTools(_Bounded, HttpToolsProtocol):  # type: ignore[misc]
        """The fast protocol."""

        in_head = True
        _header_count = 0

        def on_message_begin(self) -> None:
            if len(self.pipeline) >= MAX_PIPELINED:
                # The parser stops; those that wait are answered, and the connection is closed.
                raise ValueError("too many pipelined requests")
            self.in_head = True
            self._header_count = 0
            super().on_message_begin()

        def on_header(self, name: bytes, value: bytes) -> None:
            self._header_count += 1
            if self._header_count > MAX_HEADERS:
                # The parser stops, and asks for the reply of a request that cannot be parsed.
                raise ValueError("too many headers")
            super().on_header(name, value)

        def _fault(self, message: str) -> MaskRCNNError:
            if self._header_count > MAX_HEADERS:
                return headers_too_large()
            return super()._fault(message)

        def on_headers_complete(self) -> None:
            self.in_head = False
            super().on_headers_complete()

        def on_message_complete(self) -> None:
            self.in_head = True
            super().on_message_complete()

    Bounded: type[_Bounded] = BoundedHttpTools
else:
    Bounded = BoundedH11
"""The protocol of this installation."""


def are_too_large(headers: Sequence[tuple[bytes, bytes]]) -> bool:
    """Whether these names and values of headers are more than a request may have."""
    if len(headers) > MAX_HEADERS:
        return True
    return sum(len(name) + len(value) for name, value in headers) > MAX_HEADER_BYTES


def headers_too_large() -> HeadersTooLarge:
    """The error of a request whose headers are too large, or too many."""
    return HeadersTooLarge(
        f"the headers are larger than {MAX_HEADER_BYTES >> 10} KiB, or more than {MAX_HEADERS}"
    )


def _pings_only(app: ASGIApp) -> ASGIApp:
    """An application that answers health checks and metrics, and has no room for others."""

    async def answering(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] in PINGS:
            await app(scope, receive, send)
        else:
            error = Overloaded("too many connections; try again in a second", retry_after_s=1)
            reply = response(refusal(error))
            reply.headers["Connection"] = "close"
            await reply(scope, receive, send)

    return answering

"""The streamed reply to a request: its head when the first entry is there, then each entry."""

from __future__ import annotations

import asyncio
import time
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from anyio import CapacityLimiter, to_thread
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from maskrcnn_handlers.answer.answering import check_format
from maskrcnn_handlers.answer.reply import failed, refusal
from maskrcnn_handlers.answer.status import status_of
from maskrcnn_handlers.http.host import front_end, response
from maskrcnn_handlers.observe import request_ids
from maskrcnn_handlers.observe.exchange import Exchange
from maskrcnn_handlers.request.envelope import ATTRIBUTES, TARGET_MODEL, Envelope
from maskrcnn_server.errors import (
    BackendTimedOut,
    CallerGone,
    MaskRCNNError,
    Overloaded,
    RequestError,
    UnavailableError,
)
from maskrcnn_server.hosting.models import Hosted
from maskrcnn_server.stopwatch import Stopwatch
from maskrcnn_streaming import entries
from maskrcnn_streaming.accepting import EVENTS, Accepted, streamed
from maskrcnn_streaming.work import Work

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from starlette.types import Receive, Scope, Send

    from maskrcnn_handlers.answer.answering import Inference
    from maskrcnn_handlers.answer.reply import Reply
    from maskrcnn_handlers.request.requests import InferenceRequest
    from maskrcnn_handlers.service import Call, Service
    from maskrcnn_streaming.entries import Entry
    from maskrcnn_tiles.answering import Cutter

MAX_STREAMED = 32
"""Number of streamed replies at the same time at most."""
ALIVE_S = 15.0
"""Seconds without an entry after which a client is told that the connection is alive."""


class Streams:
    """Answers requests to one service with streamed replies."""

    def __init__(self, service: Service, cutter: Cutter) -> None:
        self.service = service
        self.cutter = cutter
        self.limiter = CapacityLimiter(MAX_STREAMED)
        self.running = 0
        """Number of streamed replies now."""

    def check(self) -> None:
        """Raise Overloaded if there is no place for another reply."""
        if self.running >= MAX_STREAMED:
            raise Overloaded(
                f"{MAX_STREAMED} replies are streamed already; try again in a second",
                retry_after_s=1,
            )

    @contextmanager
    def place(self) -> Iterator[None]:
        """One of the places, as long as the context lasts. Raises Overloaded."""
        self.check()
        self.running += 1
        try:
            yield
        finally:
            self.running -= 1

    async def answer(self, request: Request) -> Response:
        """A streamed reply, or why there is none."""
        accepted = streamed(request.headers.get("accept", ""))
        if accepted is None:
            raise ValueError("the request accepts no streamed reply")
        return Streamed(self, request, accepted)


class Streamed(Response):
    """One streamed reply."""

    def __init__(self, streams: Streams, request: Request, accepted: Accepted) -> None:
        super().__init__()
        self._streams = streams
        self._request = request
        self._accepted = accepted
        self._bytes_out = 0
        self._ended: Callable[[], Awaitable[None]] = partial(asyncio.sleep, 0)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        streams, headers = self._streams, self._request.headers
        try:
            streams.check()
            envelope = Envelope.of(
                b"",
                headers.get("content-type", ""),
                self._accepted.accept,
                headers.get(ATTRIBUTES, ""),
                self._request.path_params.get("name", headers.get(TARGET_MODEL)),
            )
            async with front_end(self._request).body(self._request) as body:
                # Others may have come while the body did.
                with streams.place():
                    refused = await self._answer(replace(envelope, body=body), send)
                    if refused is not None:
                        await response(refused)(scope, receive, send)
                    # Until then the body is in memory, and counts.
                    await self._ended()
        except ClientDisconnect:
            return
        except MaskRCNNError as error:
            await response(streams.service.refuse(error))(scope, receive, send)

    async def _answer(self, envelope: Envelope, send: Send) -> Reply | None:
        """Send the entries. Returns the reply to send instead of them, if there is none."""
        service, heard, refused = self._streams.service, Stopwatch(), None
        call, start, is_entry = service.call(envelope), time.perf_counter(), False
        leaving = asyncio.create_task(self._left())
        leaving.add_done_callback(lambda _: call.caller.leave())
        try:
            request, inference = await to_thread.run_sync(
                _understood, service, call, limiter=self._streams.limiter
            )
            timeout_s = service.settings.timeout_s
            work = Work(request, inference, self._streams.cutter, timeout_s)
            self._ended, heard = partial(work.ended, call.limit_s), work.heard
            try:
                work.start()
                error = await self._sent(work, call, leaving, send)
            finally:
                work.stop()
        except MaskRCNNError as raised:
            error = raised
            is_entry = service.settings.error_entries and isinstance(raised, RequestError)
            if is_entry:
                await self._begin(send)
                await self._send(send, entries.broken(raised), is_last=True)
            else:
                refused = refusal(raised)
                self._bytes_out = len(refused.body)
        finally:
            leaving.cancel()
        service.tell(
            Exchange(
                request_id=request_ids.current(),
                model=call.model.name if isinstance(call.model, Hosted) else "",
                status=200 if error is None or is_entry else status_of(error),
                code="" if error is None else error.code,
                seconds=time.perf_counter() - start,
                stages=heard.seconds,
                laps=heard.laps,
                bytes_in=len(envelope.body),
                bytes_out=self._bytes_out,
            )
        )
        return refused

    async def _sent(
        self, work: Work, call: Call, leaving: asyncio.Task[None], send: Send
    ) -> MaskRCNNError | None:
        """Send each entry when it is there, and the last one. Returns why that ended early.

        Raises the error of the first entry if it is that of the only image, or the server can
        answer nothing now.
        """
        deadline = time.monotonic() + call.limit_s
        has_begun = False
        while True:
            entry = await self._next(work, leaving, min(ALIVE_S, deadline - time.monotonic()))
            if leaving.done():
                return CallerGone("the client has gone")
            if not has_begun:
                first = entry.error if isinstance(entry, entries.Entry) else None
                is_alone = work.request.layout == "single"
                if first is not None and (is_alone or isinstance(first, UnavailableError)):
                    raise first
                await self._begin(send)
                has_begun = True
            if entry is None:
                images = len(work.request.images)
                last = entries.end(images, work.failed, request_ids.current())
                await self._send(send, last, is_last=True)
                return None
            if isinstance(entry, entries.Entry):
                await self._send(send, entry)
                work.sent()
                deadline = time.monotonic() + call.limit_s
            elif time.monotonic() >= deadline:
                hangs = BackendTimedOut("the model does not finish this request")
                await self._send(send, entries.broken(hangs), is_last=True)
                return hangs
            elif self._accepted.media_type == EVENTS:
                await self._write(send, entries.ALIVE)

    async def _next(
        self, work: Work, leaving: asyncio.Task[None], timeout_s: float
    ) -> Entry | TimeoutError | None:
        """The next entry; None: there are no more; TimeoutError: not yet."""
        getting = asyncio.ensure_future(work.entries.get())
        await asyncio.wait(
            {getting, leaving}, timeout=max(0, timeout_s), return_when=asyncio.FIRST_COMPLETED
        )
        if getting.done():
            return getting.result()
        getting.cancel()
        return TimeoutError()

    async def _left(self) -> None:
        """Return when the client closes the connection."""
        while (await self._request.receive())["type"] != "http.disconnect":
            pass

    async def _begin(self, send: Send) -> None:
        headers = [(b"content-type", self._accepted.media_type.encode())]
        # Proxies would keep entries back, or change them.
        headers += [(b"cache-control", b"no-cache, no-transform"), (b"x-accel-buffering", b"no")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})

    async def _send(self, send: Send, entry: Entry, *, is_last: bool = False) -> None:
        is_event = self._accepted.media_type == EVENTS
        await self._write(send, entry.event() if is_event else entry.line(), is_last=is_last)

    async def _write(self, send: Send, body: bytes, *, is_last: bool = False) -> None:
        self._bytes_out += len(body)
        await send({"type": "http.response.body", "body": body, "more_body": not is_last})


def _understood(service: Service, call: Call) -> tuple[InferenceRequest, Inference]:
    """The request, and how its images are answered. Raises MaskRCNNError."""
    try:
        with request_ids.assigned(), service.understood(call) as (request, inference, _):
            check_format(inference.format, inference.options.rle, "list")
            if inference.options.tiles is not None and request.options.max_detections is not None:
                raise RequestError(
                    "max_detections: a streamed reply sends instances before the best are known",
                    field="max_detections",
                )
            return request, inference
    except MaskRCNNError:
        raise
    except Exception as error:
        raise failed(error) from error

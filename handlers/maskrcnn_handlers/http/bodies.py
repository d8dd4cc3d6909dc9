"""The bodies of requests, as they come and while they are in memory."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from anyio import CancelScope, current_time
from starlette.requests import Request

from maskrcnn_server.errors import NotReady, Overloaded, RequestTooSlow
from maskrcnn_server.machine import give_back_memory_soon

LARGE_BYTES = 4 << 20
"""Size above which freed memory is returned to the system after a body."""
MAX_DIGITS = 18
"""Number of digits of a Content-Length that is looked at before the body is read."""


class Bodies:
    """Reads bodies in `timeout_s` at most; together they take `max_bytes` at most.

    `check_length` raises PayloadTooLarge for a number of bytes that is not read.
    """

    def __init__(
        self, max_bytes: int, timeout_s: float, check_length: Callable[[int], None]
    ) -> None:
        self._max_bytes = max_bytes
        self._timeout_s = timeout_s
        self._check_length = check_length
        self._reading: set[CancelScope] = set()
        self.held = 0
        """Number of bytes in memory."""

    @asynccontextmanager
    async def body(self, request: Request) -> AsyncIterator[bytes]:
        """The body of a request, which counts as in memory while the context lasts.

        Raises PayloadTooLarge, Overloaded if there is no room for it, RequestTooSlow, NotReady if
        the server ends meanwhile, and ClientDisconnect.
        """
        body = await self._read(request)
        try:
            yield body
        finally:
            self.held -= len(body)
            if len(body) > LARGE_BYTES:
                give_back_memory_soon()

    async def _read(self, request: Request) -> bytes:
        declared = request.headers.get("content-length", "")
        if declared.isascii() and declared.isdigit() and len(declared) <= MAX_DIGITS:
            self._check_length(int(declared))
        chunks: list[bytes] = []
        length = 0
        scope = CancelScope(deadline=current_time() + self._timeout_s)
        self._reading.add(scope)
        try:
            with scope:
                async for chunk in request.stream():
                    if self.held + len(chunk) > self._max_bytes:
                        raise Overloaded(
                            f"the bodies of requests take {self._max_bytes >> 20} MiB already; "
                            "try again in a second",
                            retry_after_s=1,
                        )
                    length += len(chunk)
                    self.held += len(chunk)
                    self._check_length(length)
                    chunks.append(chunk)
                return b"".join(chunks)
            if scope.deadline <= current_time():
                raise RequestTooSlow(f"the body took longer than {self._timeout_s:g} s")
            raise NotReady("the server is shutting down; the body came too late")
        except BaseException:
            self.held -= length
            raise
        finally:
            self._reading.discard(scope)

    def stop(self) -> None:
        """Wait no longer for bodies that are on their way."""
        for scope in self._reading:
            scope.cancel()

"""What the page's own routes have in common: bodies within limits, and work in threads."""

from __future__ import annotations

from typing import TYPE_CHECKING

from anyio import CapacityLimiter, to_thread
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from maskrcnn_handlers.answer.reply import Reply, failed, refusal
from maskrcnn_handlers.http.bodies import Bodies
from maskrcnn_handlers.http.host import response
from maskrcnn_playground.playground import HEADERS
from maskrcnn_server.errors import MaskRCNNError

if TYPE_CHECKING:
    from collections.abc import Callable

    from maskrcnn_handlers.service import Service

AT_ONCE = 2
"""Number of bodies that are worked on at the same time."""

Making = tuple[bytes, str]
"""Type of a body and its media type."""


class Answering:
    """Answers requests with what a function makes of their bodies, `AT_ONCE` at a time.

    `check_length` raises PayloadTooLarge for a number of bytes that is not read.
    """

    def __init__(self, service: Service, check_length: Callable[[int], None]) -> None:
        self._limiter = CapacityLimiter(AT_ONCE)
        settings = service.settings
        self._bodies = Bodies(
            int(AT_ONCE * 2 * settings.max_payload_mb * 2**20),
            settings.body_timeout_s,
            check_length,
        )

    async def answer(self, request: Request, make: Callable[[bytes], Making]) -> Response:
        """The reply with the body and the media type that `make` returns, or why there is none."""

        def answered(body: bytes) -> Reply:
            try:
                made, media_type = make(body)
            except MaskRCNNError as error:
                return refusal(error)
            except Exception as error:
                return refusal(failed(error))
            return Reply(200, made, media_type, HEADERS)

        try:
            async with self._bodies.body(request) as body:
                return response(await to_thread.run_sync(answered, body, limiter=self._limiter))
        except ClientDisconnect:
            return Response()
        except MaskRCNNError as error:
            return response(refusal(error))

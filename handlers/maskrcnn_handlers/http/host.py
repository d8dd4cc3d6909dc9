"""The server as plugins that add routes see it, their kinds of routes, and their replies."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol, cast

from starlette.responses import Response
from starlette.routing import Route

if TYPE_CHECKING:
    from starlette.requests import Request

    from maskrcnn_handlers.answer.reply import Reply
    from maskrcnn_handlers.request.envelope import Codec, Envelope
    from maskrcnn_handlers.service import Service
    from maskrcnn_server.formats import Format
    from maskrcnn_server.plugins import Plugins
    from maskrcnn_server.settings import Settings


@dataclass(frozen=True)
class Host:
    """A server that is about to listen."""

    service: Service
    formats: Mapping[str, Format]
    plugins: Plugins
    settings: Settings
    at_end: list[Callable[[], None]] = field(default_factory=list)
    """Functions that are called when the server refuses new connections, such as those that close
    another port."""


class FrontEnd(Protocol):
    """What routes of plugins answer inference requests by, within the limits of all requests."""

    def ping(self) -> Reply:
        """200 if requests are answered now, else 503."""

    def body(self, request: Request, /) -> AbstractAsyncContextManager[bytes]:
        """The request's body, which counts as in memory while the context lasts.

        Raises Starlette's ClientDisconnect, and the MaskRCNNError to refuse the request with.
        """

    async def reply(
        self, request: Request, envelope: Envelope, codec: Codec | None = None
    ) -> Reply:
        """The service's reply, unless the model hangs or the server ends before it."""


def front_end(request: Request) -> FrontEnd:
    """The front end that a request came to."""
    return cast("FrontEnd", request.app)


class PublicRoute(Route):
    """A route that needs no API key: it tells nothing but whether the server is well, or what is
    the same for every server."""


class InferenceRoute(Route):
    """A route that computes, and changes nothing whoever posts to it."""


def response(reply: Reply) -> Response:
    """The reply as Starlette sends it."""
    return Response(reply.body, reply.status, dict(reply.headers), reply.content_type)

"""The server as plugins that add routes see it, their kinds of routes, and their replies."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from starlette.responses import Response
from starlette.routing import Route

if TYPE_CHECKING:
    from maskrcnn_handlers.answer.reply import Reply
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


class PublicRoute(Route):
    """A route that needs no API key: it tells nothing but whether the server is well, or what is
    the same for every server."""


class InferenceRoute(Route):
    """A route that computes, and changes nothing whoever posts to it."""


def response(reply: Reply) -> Response:
    """The reply as Starlette sends it."""
    return Response(reply.body, reply.status, dict(reply.headers), reply.content_type)

"""The server's routes that find instances, for requests that accept a streamed reply."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from starlette.datastructures import Headers
from starlette.routing import BaseRoute, Match

from maskrcnn_handlers.http.host import InferenceRoute
from maskrcnn_streaming.accepting import streamed
from maskrcnn_streaming.reply import Streams
from maskrcnn_tiles.answering import cutter

if TYPE_CHECKING:
    from starlette.types import Scope

    from maskrcnn_handlers.http.host import Host

PATHS = ("/invocations", "/models/{name}/invoke", "/models/{name}/invocations")


class StreamedRoute(InferenceRoute):
    """A route for requests that accept a streamed reply more than any other."""

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        match, found = super().matches(scope)
        if match is Match.FULL and streamed(Headers(scope=scope).get("accept", "")) is not None:
            return match, found
        return Match.NONE, {}


class StreamedRoutes:
    """Streamed replies of one server."""

    name = "streaming"

    def routes(self, host: Host, /) -> Sequence[BaseRoute]:
        answer = Streams(host.service, cutter(host.service)).answer
        return [StreamedRoute(path, answer, methods=["POST"]) for path in PATHS]

"""The playground's routes, which are no part of the API."""

from collections.abc import Sequence

from anyio import to_thread
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from maskrcnn_handlers.answer.reply import Reply
from maskrcnn_handlers.http.host import Host, PublicRoute, response
from maskrcnn_playground.clips import Clips
from maskrcnn_playground.editing import Editing
from maskrcnn_playground.playground import Playground
from maskrcnn_server import settings as environment


class PlaygroundRoutes:
    """`/`, the files of the page, and sample images; none where the settings want no playground."""

    name = "playground"

    def routes(self, host: Host, /) -> Sequence[BaseRoute]:
        if not environment.has_playground(host.settings):
            return []
        demos = list(host.plugins.demos().values())
        page = mounted(Playground(host.formats, demos, host.settings))
        editing = Editing(host.service, host.formats).routes()
        return [*editing, *Clips(host.service).routes(), *page]


def mounted(playground: Playground) -> Sequence[BaseRoute]:
    """Routes of one playground."""

    async def page(_: Request) -> Response:
        return response(playground.page())

    async def server(_: Request) -> Response:
        return response(playground.server())

    async def file(request: Request) -> Response:
        return _found(playground.file(request.path_params["name"]))

    async def sample(request: Request) -> Response:
        number = request.path_params["number"]
        return _found(await to_thread.run_sync(playground.sample, number))

    async def photograph(request: Request) -> Response:
        return _found(playground.photograph(request.path_params["name"]))

    return [
        PublicRoute("/", page),
        Route("/playground/server.json", server),
        PublicRoute("/playground/samples/{number}", sample),
        PublicRoute("/playground/photographs/{name}", photograph),
        PublicRoute("/playground/{name}", file),
    ]


def _found(reply: Reply | None) -> Response:
    if reply is None:
        raise HTTPException(404)
    return response(reply)

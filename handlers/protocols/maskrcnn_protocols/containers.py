"""Routes that a platform for containers chooses: Vertex AI, Azure ML, Hugging Face Endpoints."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute

from maskrcnn_handlers.http.host import InferenceRoute, PublicRoute, front_end, response
from maskrcnn_protocols import hugging_face, instances, settings
from maskrcnn_protocols.exchange import Exchange, plain_error, same

if TYPE_CHECKING:
    from maskrcnn_handlers.http.host import Host
    from maskrcnn_handlers.request.envelope import Envelope

READERS: Mapping[str, tuple[Callable[[Envelope], Envelope], Callable[[str], Any] | None]] = {
    "invocations": (same, None),
    "instances": (instances.ours, plain_error),
    **{
        name: (partial(hugging_face.in_format, form=name), plain_error)
        for name in (
            hugging_face.HuggingFaceDetection.name,
            hugging_face.HuggingFaceSegmentation.name,
        )
    },
}
"""How a request is read, and an error written, by the value of `PROTOCOLS_PREDICT_AS`."""


class ContainerRoutes:
    """The routes in the settings, or in Vertex AI's variables; none where neither says any."""

    name = "containers"

    def routes(self, _: Host, /) -> Sequence[BaseRoute]:
        chosen, vertex = settings.read(), settings.vertex()
        health = dict.fromkeys((*chosen.health_routes, *filter(None, [vertex.health_route])))
        predict = {} if chosen.predict_route is None else {chosen.predict_route: chosen.predict_as}
        if vertex.predict_route is not None:
            predict[vertex.predict_route] = "instances"
        found: list[BaseRoute] = [PublicRoute(path, _health) for path in health]
        for path, reader in predict.items():
            found.append(InferenceRoute(path, Exchange(*READERS[reader]).answer, methods=["POST"]))
        return found


async def _health(request: Request) -> Response:
    """As `/ping`."""
    return response(front_end(request).ping())

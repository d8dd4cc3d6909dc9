"""`{"instances": [{"b64": ...}]}`: TensorFlow Serving, KServe's version 1, and Vertex AI.

Sources: https://www.tensorflow.org/tfx/serving/api_rest,
https://kserve.github.io/website/docs/concepts/architecture/data-plane/v1-protocol and
https://cloud.google.com/vertex-ai/docs/predictions/custom-container-requirements.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, Field
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from maskrcnn_handlers.answer.status import status_of
from maskrcnn_handlers.http.host import InferenceRoute
from maskrcnn_handlers.request.requests import MAX_IMAGES
from maskrcnn_protocols import settings
from maskrcnn_protocols.exchange import Exchange, content, plain_error, rewritten
from maskrcnn_protocols.open_inference.catalogue import Catalogue
from maskrcnn_server.errors import MaskRCNNError, RequestError

if TYPE_CHECKING:
    from maskrcnn_handlers.http.host import Host
    from maskrcnn_handlers.request.envelope import Envelope

MODEL = "/v1/models/{model}"
VERSION = "1"


class _Body(BaseModel):
    instances: list[Any] = Field(min_length=1, max_length=MAX_IMAGES)
    parameters: dict[str, Any] | None = None


class InstancesRoutes:
    """`/v1/models/NAME:predict`, and what is told of models there."""

    name = "tensorflow-serving"
    addresses: Mapping[str, str] = MappingProxyType({"TensorFlow Serving": "/v1/models"})

    def routes(self, host: Host, /) -> Sequence[BaseRoute]:
        catalogue = Catalogue(host.service, settings.read().model_name)

        def target(request: Request) -> str | None:
            return catalogue.target(
                request.path_params["model"], request.path_params.get("version", "")
            )

        predict = Exchange(ours, plain_error, target).answer

        async def models(_: Request) -> Response:
            return JSONResponse({"models": sorted(catalogue.hosted())})

        async def model(request: Request) -> Response:
            name = request.path_params["model"]
            try:
                is_ready = catalogue.is_ready(name)
            except MaskRCNNError as error:
                return JSONResponse(plain_error(error.message), status_of(error))
            return JSONResponse(_status(name, is_ready=is_ready))

        return [
            InferenceRoute(f"{MODEL}:predict", predict, methods=["POST"]),
            InferenceRoute(f"{MODEL}/versions/{{version}}:predict", predict, methods=["POST"]),
            Route("/v1/models", models),
            Route(MODEL, model),
        ]


def ours(envelope: Envelope) -> Envelope:
    """This server's request for several images; `parameters` are its options.

    An instance is `{"b64": ...}`, by itself or under any one name, or this server's own
    `{"img_id": ..., "img_data": ...}`. Raises RequestError.
    """
    asked = content(envelope.body, _Body)
    images = [_image(number, one) for number, one in enumerate(asked.instances)]
    return rewritten(envelope, {**(asked.parameters or {}), "instances": images})


def _image(number: int, given: Any) -> Any:
    if not isinstance(given, dict) or "img_data" in given or "img_url" in given:
        return given
    found = given
    if "b64" not in given and len(given) == 1:
        (found,) = given.values()
    if not isinstance(found, dict) or "b64" not in found:
        raise RequestError(f'instances.{number}: {{"b64": image file}} is meant', field="instances")
    return {"img_id": str(number), "img_data": found["b64"]}


def _status(name: str, *, is_ready: bool) -> dict[str, object]:
    """What KServe's clients and TensorFlow Serving's read of a model."""
    version = {
        "version": VERSION,
        "state": "AVAILABLE" if is_ready else "LOADING",
        "status": {"error_code": "OK", "error_message": ""},
    }
    return {"name": name, "ready": is_ready, "model_version_status": [version]}

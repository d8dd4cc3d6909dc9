"""roboflow's inference server, for `inference-sdk` in its modes v0 and v1.

Source: https://github.com/roboflow/inference (inference/core/entities/responses/inference.py).
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import replace
from importlib.metadata import version
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, Field
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from maskrcnn_annotation_formats.outlines import parts, without_holes
from maskrcnn_handlers.formats.writing import as_json, instances
from maskrcnn_handlers.http.host import InferenceRoute
from maskrcnn_handlers.request.requests import MAX_IMAGES
from maskrcnn_protocols import settings
from maskrcnn_protocols.exchange import Exchange, content, rewritten
from maskrcnn_protocols.open_inference.catalogue import Catalogue
from maskrcnn_server.errors import RequestError

if TYPE_CHECKING:
    from maskrcnn_handlers.answer.reply import Reply
    from maskrcnn_handlers.formats.writing import Instance
    from maskrcnn_handlers.http.host import Host
    from maskrcnn_handlers.request.envelope import Envelope
    from maskrcnn_server.formats import Encoding, Prediction
    from maskrcnn_server.rle import RLE

SEVERAL = b'{"predictions":['
"""Beginning of the reply to several images."""
TASK = "instance-segmentation"


class Roboflow:
    """`{"image": {"width", "height"}, "predictions": [...]}`: centres and sizes of boxes, and the
    outline of an instance's largest part; with `rle`, its mask in COCO's text in its place."""

    name = "roboflow"
    media_type = "application/json"
    encodings: Sequence[Encoding] = ("compressed",)

    def render(self, prediction: Prediction, /) -> bytes:
        height, width = prediction.detections.size
        order: Literal["rows", "columns"] = "rows" if prediction.rle is None else "columns"
        return as_json(
            {
                "image": {"width": width, "height": height},
                "predictions": [_prediction(one) for one in instances(prediction, order)],
            }
        )


def _prediction(instance: Instance) -> dict[str, object]:
    x1, y1, x2, y2 = instance.box.tolist()
    found: dict[str, object] = {
        "x": (x1 + x2) / 2,
        "y": (y1 + y2) / 2,
        "width": x2 - x1,
        "height": y2 - y1,
        "confidence": instance.score,
        "class": instance.category.name,
        "class_id": instance.category.id,
        "detection_id": str(uuid.uuid4()),
    }
    if instance.mask is None:
        return found
    if instance.mask.order == "columns":
        mask = {"size": list(instance.mask.size), "counts": instance.mask.compressed()}
        return found | {"rle": mask}
    return found | {"points": _outline(instance.mask)}


def _outline(mask: RLE) -> list[dict[str, float]]:
    rings = [without_holes(part) for part in parts(mask)] if mask.area else []
    if not rings:
        return []
    extents = [(ring.max(0) - ring.min(0)).prod() for ring in rings]
    largest = rings[extents.index(max(extents))].tolist()
    return [{"x": x, "y": y} for x, y in largest]


class _Image(BaseModel):
    type: Literal["base64"]
    value: str


class _Body(BaseModel):
    image: _Image | list[_Image]
    confidence: float | None = None
    max_detections: int | None = None
    class_filter: list[str] | None = None
    response_mask_format: Literal["polygon", "rle"] = "polygon"


class _ModelBody(BaseModel):
    model_id: str = Field(max_length=256)


class RoboflowRoutes:
    """`/infer/instance_segmentation` and the routes around it; a model's id is `NAME/1`."""

    name = "roboflow"
    addresses: Mapping[str, str] = MappingProxyType({"roboflow inference-sdk": "/"})

    def routes(self, host: Host, /) -> Sequence[BaseRoute]:
        catalogue = Catalogue(host.service, settings.read().model_name)
        identity = str(uuid.uuid4())

        def named(request: Request) -> str | None:
            return catalogue.target(
                request.path_params["project"], str(request.path_params["version"])
            )

        async def legacy(request: Request) -> Response:
            query = dict(request.query_params)
            return await Exchange(lambda given: _legacy(given, query), _error, named).answer(
                request
            )

        async def infer(request: Request) -> Response:
            translate = Exchange(lambda given: _ours(given, catalogue), _error, finish=_listed)
            return await translate.answer(request)

        async def info(_: Request) -> Response:
            told = {"name": "maskrcnn-server", "version": version("maskrcnn-server")}
            return JSONResponse({**told, "uuid": identity})

        async def registry(_: Request) -> Response:
            models = [
                {"model_id": f"{name}/1", "task_type": TASK, "batch_size": MAX_IMAGES}
                for name in catalogue.hosted()
            ]
            return JSONResponse({"models": models})

        return [
            InferenceRoute("/infer/instance_segmentation", infer, methods=["POST"]),
            InferenceRoute("/infer/object_detection", infer, methods=["POST"]),
            InferenceRoute("/{project}/{version:int}", legacy, methods=["POST"]),
            Route("/info", info),
            Route("/model/registry", registry),
            Route("/model/add", registry, methods=["POST"]),
        ]


def _ours(envelope: Envelope, catalogue: Catalogue) -> Envelope:
    """This server's request for one of mode v1, to the model that its body names."""
    asked = content(envelope.body, _Body)
    name, _, number = content(envelope.body, _ModelBody).model_id.partition("/")
    options = {
        "format": Roboflow.name,
        "score_threshold": asked.confidence,
        "max_detections": asked.max_detections,
        "classes": asked.class_filter,
        "rle": "compressed" if asked.response_mask_format == "rle" else None,
    }
    target = replace(envelope, model=catalogue.target(name, number))
    if isinstance(asked.image, _Image):
        return rewritten(target, {"img_id": "", "img_data": asked.image.value, **options})
    images = [{"img_id": str(i), "img_data": one.value} for i, one in enumerate(asked.image)]
    return rewritten(target, {"instances": images, **options})


def _legacy(envelope: Envelope, query: Mapping[str, str]) -> Envelope:
    """This server's request for one of mode v0: base64 as the body, options in the address."""
    options: dict[str, Any] = {"format": Roboflow.name}
    try:
        if "confidence" in query:
            given = float(query["confidence"])
            # Percents, as the hosted service has them.
            options["score_threshold"] = given / 100 if given > 1 else given
        if "max_detections" in query:
            options["max_detections"] = int(query["max_detections"])
    except ValueError:
        raise RequestError("confidence and max_detections are numbers") from None
    if query.get("response_mask_format") == "rle":
        options["rle"] = "compressed"
    data = envelope.body.decode("ascii", "replace")
    return rewritten(envelope, {"img_id": "", "img_data": data, **options})


def _listed(reply: Reply) -> Reply:
    """The answers for several images as a list."""
    if not reply.body.startswith(SEVERAL):
        return reply
    return replace(reply, body=reply.body[len(SEVERAL) - 1 : -1])


def _error(message: str) -> dict[str, Any]:
    return {"message": message}

"""Hugging Face's tasks `object-detection` and `image-segmentation`: answers, and routes.

Source: https://huggingface.co/docs/inference-providers/tasks/image-segmentation (and
object-detection).
"""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import PIL.Image
from pydantic import BaseModel, Field
from starlette.routing import BaseRoute

from maskrcnn_handlers.formats.writing import as_json, instances
from maskrcnn_handlers.http.host import InferenceRoute
from maskrcnn_handlers.request.images import media_type
from maskrcnn_protocols.exchange import Answer, Exchange, content, plain_error, rewritten
from maskrcnn_server.errors import RequestError

if TYPE_CHECKING:
    from maskrcnn_handlers.http.host import Host
    from maskrcnn_handlers.request.envelope import Envelope
    from maskrcnn_server.formats import Prediction
    from maskrcnn_server.rle import RLE

PREFIX = "/hugging-face"


class HuggingFaceDetection:
    """`[{"label": ..., "score": ..., "box": {"xmin", "ymin", "xmax", "ymax"}}]`, whole pixels."""

    name = "huggingface-detection"
    media_type = "application/json"

    def render(self, prediction: Prediction, /) -> bytes:
        corners = ("xmin", "ymin", "xmax", "ymax")
        return as_json(
            [
                {
                    "label": one.category.name,
                    "score": one.score,
                    "box": dict(zip(corners, one.box.round().astype(int).tolist(), strict=True)),
                }
                for one in instances(prediction)
            ]
        )


class HuggingFaceSegmentation:
    """`[{"label": ..., "score": ..., "mask": PNG in base64}]`: white is the instance."""

    name = "huggingface-segmentation"
    media_type = "application/json"

    def render(self, prediction: Prediction, /) -> bytes:
        if prediction.detections.masks is None:
            raise RequestError(f"format {self.name}: there are no masks to write")
        return as_json(
            [
                {
                    "label": one.category.name,
                    "score": one.score,
                    "mask": "" if one.mask is None else _png(one.mask),
                }
                for one in instances(prediction)
            ]
        )


class _Parameters(BaseModel):
    threshold: float | None = None
    mask_threshold: float | None = None


class _Body(BaseModel):
    inputs: str
    parameters: _Parameters | None = Field(default_factory=_Parameters)


class HuggingFaceRoutes:
    """`/hugging-face/object-detection`, and `image-segmentation`, for `InferenceClient`."""

    name = "hugging-face"
    addresses: Mapping[str, str] = MappingProxyType(
        {"Hugging Face image-segmentation": f"{PREFIX}/image-segmentation"}
    )

    def routes(self, _: Host, /) -> Sequence[BaseRoute]:
        found = []
        for task, form in (
            ("object-detection", HuggingFaceDetection.name),
            ("image-segmentation", HuggingFaceSegmentation.name),
        ):
            for path in (f"{PREFIX}/{task}", f"{PREFIX}/{task}/{{model}}"):
                found.append(InferenceRoute(path, endpoint(form), methods=["POST"]))
        return found


def endpoint(form: str) -> Answer:
    """Answers the requests of `InferenceClient` in a format."""

    def ours(envelope: Envelope) -> Envelope:
        return in_format(envelope, form)

    return Exchange(ours, plain_error).answer


def in_format(envelope: Envelope, form: str) -> Envelope:
    """This server's request for the same: image bytes, or JSON with `inputs` in base64.

    Raises RequestError.
    """
    if media_type(envelope.body) is not None:
        return rewritten(envelope, None, {"format": form})
    asked = content(envelope.body, _Body)
    options: dict[str, Any] = {"format": form}
    if asked.parameters is not None:
        options["score_threshold"] = asked.parameters.threshold
        options["mask_threshold"] = asked.parameters.mask_threshold
    return rewritten(envelope, {"img_id": "", "img_data": asked.inputs, **options})


def _png(mask: RLE) -> str:
    file = io.BytesIO()
    pixels = PIL.Image.fromarray(mask.bitmap())
    pixels.convert("L").save(file, "PNG", compress_level=1)
    return base64.b64encode(file.getvalue()).decode()

"""From a request as received to what it asks for."""

import base64
import binascii
import difflib
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from maskrcnn_server.backend import PredictOptions
from maskrcnn_server.errors import RequestError, UnsupportedContentType

JSON = "application/json"
RAW = (
    "application/x-image",
    "image/jpeg",
    "image/jpg",
    "image/png",
    "image/webp",
    "image/bmp",
    "image/tiff",
)

ImageId = Annotated[str, Field(max_length=1024)] | int


class Options(BaseModel):
    """What a client may ask for beside the image, in JSON fields or as custom attributes."""

    model_config = ConfigDict(extra="forbid")

    img_id: ImageId = Field("", description="Name of the image, returned as it came.")
    score_threshold: float | None = Field(
        None, ge=0, le=1, description="Return instances that score this or more."
    )
    mask_threshold: float | None = Field(
        None, gt=0, le=1, description="Probability from which a pixel belongs to a mask."
    )
    max_detections: int | None = Field(
        None, gt=0, description="Return this many instances at most, the best."
    )
    masks: bool = Field(True, description="False: boxes only.")
    rpn: bool = Field(False, description="True: also `rpn_boxes`, `rpn_scores` and `all_scores`.")
    format: str | None = Field(
        None, max_length=64, description="Name of the response format, such as `coco`."
    )


class Attributes(Options):
    """The custom attributes of a request."""

    model: str | None = Field(None, max_length=1024, description="Which of several models.")


class JsonRequest(Options):
    """The body of a JSON request."""

    img_id: ImageId = Field(description="Name of the image, returned as it came.")
    img_data: str = Field(description="The encoded image file in base64.")


@dataclass(frozen=True, kw_only=True)
class InferenceRequest:
    """A request, validated but for its image's bytes."""

    image_id: str | int
    image: bytes
    """An encoded image file, as it came."""
    options: PredictOptions
    format: str | None
    """None: the server's default, or what the client accepts."""


def parse(
    body: bytes, content_type: str, attributes: str, mask_threshold: float
) -> InferenceRequest:
    """Parse a request; `mask_threshold` is the server's default.

    `attributes` are SageMaker's custom attributes, `key=value` separated by `;`. Fields of a JSON
    body win over them. Raises RequestError, or UnsupportedContentType.
    """
    asked = _attributes(attributes)
    media_type = content_type.partition(";")[0].strip().lower()
    if media_type == JSON:
        fields = _validated(body)
        asked = asked.model_copy(update={k: getattr(fields, k) for k in fields.model_fields_set})
        image = _base64(fields.img_data)
    elif media_type in RAW:
        image = body
    else:
        raise UnsupportedContentType(
            f"content type {media_type[:80]!r} is not supported", supported=[JSON, *RAW]
        )
    if asked.mask_threshold is not None:
        mask_threshold = asked.mask_threshold
    return InferenceRequest(
        image_id=asked.img_id,
        image=image,
        options=PredictOptions(
            score_threshold=asked.score_threshold,
            mask_threshold=mask_threshold,
            max_detections=asked.max_detections,
            masks=asked.masks,
            proposals=asked.rpn,
        ),
        format=asked.format,
    )


def named_model(attributes: str) -> str | None:
    """Which of several models the custom attributes name."""
    return _pairs(attributes).get("model") or None


def _pairs(text: str) -> dict[str, str]:
    parts = [part.partition("=") for part in text.split(";") if part.strip()]
    return {key.strip(): value.strip() for key, _, value in parts}


def _attributes(text: str) -> Options:
    """The options among `key=value;key=value`."""
    values: dict[str, Any] = _pairs(text)
    try:
        return Attributes.model_validate_strings(values)
    except ValidationError as error:
        raise _refusal(error, "custom attribute ") from None


def _validated(body: bytes) -> JsonRequest:
    try:
        return JsonRequest.model_validate_json(body, strict=True)
    except ValidationError as error:
        raise _refusal(error, "") from None


def _refusal(error: ValidationError, kind: str) -> RequestError:
    """The first thing that is wrong; never the value, which may be large or private."""
    first = error.errors(include_url=False, include_input=False)[0]
    field = str(first["loc"][0])[:80] if first["loc"] else "body"
    message = first["msg"]
    if first["type"] == "extra_forbidden":
        nearest = difflib.get_close_matches(field, JsonRequest.model_fields, n=1, cutoff=0)[0]
        message = f"no such field; the nearest is {nearest}"
    return RequestError(f"{kind}{field}: {message}", field=field)


def _base64(text: str) -> bytes:
    try:
        data = text.encode("ascii").translate(None, b" \t\r\n")
        return base64.b64decode(data, validate=True)
    except (UnicodeEncodeError, binascii.Error) as error:
        raise RequestError(f"img_data: not base64 ({error})", field="img_data") from None

"""From a request as received to what it asks for."""

import base64
import binascii
import contextlib
import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, NamedTuple, TypeVar

import pybase64
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    WithJsonSchema,
)

from maskrcnn_handlers.request import multipart
from maskrcnn_server.backend import PredictOptions
from maskrcnn_server.errors import RequestError, UnsupportedContentType
from maskrcnn_server.formats import Encoding
from maskrcnn_server.options import Options
from maskrcnn_server.settings import ModelDefaults

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

ARRAY = "application/x-npy"
FORM = "multipart/form-data"

MOST_IMAGES = 32
"""In one request."""

ImageId = Annotated[str, Field(max_length=1024)] | int


class Attributes(Options):
    """What custom attributes or the fields of a form say."""

    img_id: ImageId = Field("", description="Name of the image, returned as it came.")


class CustomAttributes(Attributes):
    """The custom attributes of a request."""

    model: str | None = Field(None, max_length=1024, description="Which of several models.")


class Instance(BaseModel):
    """An image in JSON."""

    model_config = ConfigDict(extra="forbid")

    img_id: ImageId = Field(description="Name of the image, returned as it came.")
    img_data: str = Field(description="The encoded image file in base64.")


class JsonRequest(Options, Instance):
    """The body of a JSON request."""


class SeveralRequest(Options):
    """The body of a JSON request for several images."""

    instances: Annotated[
        list[object],
        Field(min_length=1, max_length=MOST_IMAGES),
        WithJsonSchema({"type": "array", "items": Instance.model_json_schema()}),
    ] = Field(description=f"Images, {MOST_IMAGES} at most; each is answered by itself.")


class FormRequest(Attributes):
    """The parts of a form."""

    image: Annotated[bytes, WithJsonSchema({"type": "string", "format": "binary"})] = Field(
        description="The image file. Its file name is the image's, unless `img_id` gives one."
    )


A = TypeVar("A", bound=Attributes)


class Encoded(NamedTuple):
    """An image as it came."""

    image_id: str | int
    data: bytes
    """An encoded image file, or an array in NumPy's format."""


@dataclass(frozen=True, kw_only=True)
class InferenceRequest:
    """A request, validated but for its images' bytes."""

    images: Sequence[Encoded | RequestError]
    """One, unless there are `several`; what is wrong with one of several stands in its place."""
    several: bool = False
    """Whether the answer is a list, if only of one."""
    options: PredictOptions
    classes: Sequence[str | int] | None = None
    format: str | None
    """None: the server's default, or what the client accepts."""
    rle: Encoding | None = None


def parse(
    body: bytes, content_type: str, attributes: str, defaults: ModelDefaults
) -> InferenceRequest:
    """Parse a request; `defaults` are for options that it does not give.

    `attributes` are SageMaker's custom attributes, `key=value` separated by `;`. Fields of a JSON
    body win over them. Raises RequestError, or UnsupportedContentType.
    """
    asked: Attributes = _strings(CustomAttributes, _pairs(attributes), "custom attribute ")
    media_type = content_type.partition(";")[0].strip().lower()
    images: list[Encoded | RequestError]
    fields: Options = asked
    if media_type == JSON:
        fields = _validated(body)
        if isinstance(fields, SeveralRequest):
            images = [_instance(instance) for instance in fields.instances]
        else:
            images = [Encoded(fields.img_id, _base64(fields.img_data))]
    elif media_type == FORM:
        form = multipart.parse(body, content_type)
        fields = _strings(Attributes, form.fields, "")
        if len(form.files) != 1:
            raise RequestError(f"a form has one file, not {len(form.files)}", field="image")
        ((name, data),) = form.files
        images = [Encoded(fields.img_id or asked.img_id or name[:1024], data)]
    elif media_type in (*RAW, ARRAY):
        images = [Encoded(asked.img_id, body)]
    else:
        raise UnsupportedContentType(
            f"content type {media_type[:80]!r} is not supported",
            supported=[JSON, *RAW, ARRAY, FORM],
        )
    given = {
        name: value
        for said in (asked, fields)
        for name in said.model_fields_set & Options.model_fields.keys()
        if (value := getattr(said, name)) is not None
    }
    options = defaults.model_copy(update=given)
    return InferenceRequest(
        images=images,
        several=isinstance(fields, SeveralRequest),
        options=PredictOptions(
            score_threshold=given.get("score_threshold"),
            mask_threshold=options.mask_threshold,
            max_detections=options.max_detections,
            masks=options.masks,
            proposals=options.rpn,
        ),
        classes=options.classes,
        format=given.get("format"),
        rle=options.rle,
    )


def named_model(attributes: str) -> str | None:
    """Which of several models the custom attributes name."""
    return _pairs(attributes).get("model") or None


def _pairs(text: str) -> dict[str, str]:
    parts = [part.partition("=") for part in text.split(";") if part.strip()]
    return {key.strip(): value.strip() for key, _, value in parts}


def _strings(schema: type[A], values: Mapping[str, str], kind: str) -> A:
    try:
        return schema.model_validate_strings(values)
    except ValidationError as error:
        raise _refusal(error, kind) from None


def _validated(body: bytes) -> JsonRequest | SeveralRequest:
    try:
        return JsonRequest.model_validate_json(body, strict=True)
    except ValidationError as error:
        if not any(e["loc"] == ("instances",) for e in error.errors(include_input=False)):
            raise _refusal(error, "") from None
    try:
        return SeveralRequest.model_validate_json(body, strict=True)
    except ValidationError as error:
        raise _refusal(error, "") from None


def _instance(value: object) -> Encoded | RequestError:
    try:
        instance = Instance.model_validate(value, strict=True)
        return Encoded(instance.img_id, _base64(instance.img_data))
    except ValidationError as error:
        return _refusal(error, "")
    except RequestError as error:
        return error


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
    with contextlib.suppress(ValueError):
        return pybase64.b64decode(text, validate=True)
    # Broken over lines, or wrong: the slow way knows what is wrong.
    try:
        data = text.encode("ascii").translate(None, b" \t\r\n")
        return base64.b64decode(data, validate=True)
    except (UnicodeEncodeError, binascii.Error) as error:
        raise RequestError(f"img_data: not base64 ({error})", field="img_data") from None

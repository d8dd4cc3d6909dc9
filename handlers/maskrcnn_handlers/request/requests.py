"""From an envelope to what the request asks for."""

import base64
import binascii
import contextlib
import difflib
from collections.abc import Mapping, Sequence
from typing import Annotated, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, ValidationError, WithJsonSchema

from maskrcnn_handlers.request import multipart
from maskrcnn_handlers.request.envelope import Envelope
from maskrcnn_handlers.request.images import received
from maskrcnn_handlers.request.options import given
from maskrcnn_server.errors import RequestError, UnsupportedContentType
from maskrcnn_server.options import Options

try:
    import pybase64 as fast_base64
except ImportError:
    import base64 as fast_base64  # type: ignore[no-redef]

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
TOLD = ("image/gif", "image/heic")
"""Media types that only the first bytes of an image tell."""
ARRAY = "application/x-npy"
FORM = "multipart/form-data"

MAX_IMAGES = 32
"""Number of images in one request at most."""

ImageId = Annotated[str, Field(max_length=1024)] | int


class Attributes(Options):
    """What custom attributes or the fields of a form say."""

    img_id: ImageId = Field("", description="Name of the image, returned as it came.")


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
        Field(min_length=1, max_length=MAX_IMAGES),
        WithJsonSchema({"type": "array", "items": Instance.model_json_schema()}),
    ] = Field(description=f"Images, {MAX_IMAGES} at most; each is answered by itself.")


class FormRequest(Attributes):
    """The parts of a form."""

    image: Annotated[bytes, WithJsonSchema({"type": "string", "format": "binary"})] = Field(
        description="The image file. Its file name is the image's, unless `img_id` gives one."
    )


class Encoded(NamedTuple):
    """An image as it came."""

    image_id: str | int
    data: bytes
    """An encoded image file, or an array in NumPy's format."""


class InferenceRequest(NamedTuple):
    """A request, validated except for the bytes of its images."""

    images: Sequence[Encoded | RequestError]
    """One or more; an error stands in the place of one of several that is wrong."""
    options: Options
    """What it asks for itself."""
    several: bool = False
    """Whether the answer is a list, even of one."""


def parse(envelope: Envelope) -> InferenceRequest:
    """Parse a request. Fields of its body win over its custom attributes.

    Raises RequestError, or UnsupportedContentType.
    """
    body = envelope.body
    attributes = _strings(envelope.attributes, "custom attribute ")
    media_type = received(envelope.content_type, body)
    images: list[Encoded | RequestError]
    fields: Options = attributes
    if media_type == JSON:
        fields = _validated(body)
        if isinstance(fields, SeveralRequest):
            images = [_instance(instance) for instance in fields.instances]
        else:
            images = [Encoded(fields.img_id, _base64(fields.img_data))]
    elif media_type == FORM:
        form = multipart.parse(body, envelope.content_type)
        fields = _strings(form.fields, "")
        if len(form.files) != 1:
            raise RequestError(f"a form has one file, not {len(form.files)}", field="image")
        ((name, data),) = form.files
        images = [Encoded(fields.img_id or attributes.img_id or name[:1024], data)]
    elif media_type in (*RAW, *TOLD, ARRAY):
        images = [Encoded(attributes.img_id, body)]
    else:
        raise UnsupportedContentType(
            f"content type {media_type[:80]!r} is not supported",
            supported=[JSON, *RAW, ARRAY, FORM],
        )
    asked = given(attributes) if fields is attributes else given(attributes) | given(fields)
    options = Options().model_copy(update=asked)
    return InferenceRequest(images, options, isinstance(fields, SeveralRequest))


def _strings(values: Mapping[str, str], kind: str) -> Attributes:
    try:
        return Attributes.model_validate_strings(values)
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
        return fast_base64.b64decode(text, validate=True)
    # Broken over lines, or wrong: the slow way knows what is wrong.
    try:
        data = text.encode("ascii").translate(None, b" \t\r\n")
        return base64.b64decode(data, validate=True)
    except (UnicodeEncodeError, binascii.Error) as error:
        raise RequestError(f"img_data: not base64 ({error})", field="img_data") from None

"""Requests: their schemas, and the way from an envelope to images and options."""

from __future__ import annotations

import base64
import binascii
import contextlib
import difflib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple, TypeAlias, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, WithJsonSchema
from pydantic_core import from_json

from maskrcnn_handlers.request import multipart
from maskrcnn_handlers.request.images import media_type
from maskrcnn_handlers.request.options import given
from maskrcnn_server.errors import RequestError, UnsupportedContentType
from maskrcnn_server.options import Options

if TYPE_CHECKING:
    from maskrcnn_handlers.request.envelope import Envelope

try:
    import pybase64 as fast_base64
except ImportError:
    import base64 as fast_base64  # type: ignore[no-redef]

JSON = "application/json"
LINES = ("application/jsonlines", "application/x-ndjson")
RAW = (
    "application/octet-stream",
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
IMAGES = ("image/", "application/x-image", ARRAY)
"""Beginnings of the media types of images."""

MAX_IMAGES = 32
"""Number of images in one request at most."""
MAX_JSON_VALUES = 8192
"""Number of commas and opening brackets in a JSON body at most, those in its texts included."""
MAX_FIELDS = 64
"""Number of fields of a JSON object at most, and of custom attributes."""
SCAN_BYTES = 1 << 16
SIMILARITY = 0.7
"""Similarity, 0 to 1, from which an unknown name is taken for a misspelt one of ours."""

S = TypeVar("S", bound=BaseModel)
ImageId = Annotated[str, Field(max_length=1024)] | int


class Attributes(Options):
    """Custom attributes, or the fields of a form."""

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


Layout: TypeAlias = Literal["single", "list", "lines"]


class InferenceRequest(NamedTuple):
    """A request, validated except for the bytes of its images."""

    images: Sequence[Encoded | RequestError]
    """One or more; an error stands in the place of one of several that is wrong."""
    options: Options
    """Options that the request itself gives."""
    layout: Layout = "single"
    """Layout of the answers: one by itself, a JSON list, or a line of JSON for each image."""
    negotiates: bool = True
    """Whether the media types of `Accept` count. If not, only a format that it names does."""


def parse(envelope: Envelope) -> InferenceRequest:
    """Parse a request. Fields of its body win over its custom attributes.

    Raises RequestError, or UnsupportedContentType.
    """
    attributes = Attributes()
    if envelope.attributes:
        attributes = _strings(envelope.attributes, "custom attribute ")
    # The first bytes of an image count more than what the client says.
    kind = media_type(envelope.body) or envelope.content_type.partition(";")[0].strip().lower()
    if not envelope.body and not kind.startswith(IMAGES):
        raise RequestError(
            "body: it is empty; send an image file, or JSON with img_id and img_data", field="body"
        )
    images: list[Encoded | RequestError]
    fields: Options | None = None
    layout: Layout = "single"
    notebook = False
    if kind == JSON or kind.endswith("+json"):
        content = _object(envelope.body)
        if "instances" in content:
            for name in content.keys() & Instance.model_fields.keys():
                raise RequestError(f"{name}: belongs into each of the instances", field=name)
            fields = several = _validated(SeveralRequest, content)
            layout = "list"
            images = [_instance(instance) for instance in several.instances]
        else:
            fields = single = _validated(JsonRequest, content)
            notebook = True
            images = [Encoded(single.img_id, _base64(single.img_data))]
    elif kind in LINES:
        layout = "lines"
        images = [_instance(_line(line)) for line in _lines(envelope.body)]
    elif kind == FORM:
        form = multipart.parse(envelope.body, envelope.content_type)
        fields = said = _strings(form.fields, "")
        if len(form.files) != 1:
            raise RequestError(f"a form has one file, not {len(form.files)}", field="image")
        ((name, data),) = form.files
        images = [Encoded(said.img_id or attributes.img_id or name[:1024], data)]
    elif kind in (*RAW, *TOLD, ARRAY):
        images = [Encoded(attributes.img_id, envelope.body)]
    else:
        raise UnsupportedContentType(
            f"content type {kind[:80]!r} is not supported",
            supported=[JSON, *LINES, *RAW, ARRAY, FORM],
        )
    asked = given(attributes) if envelope.attributes else {}
    if fields is not None:
        asked |= given(fields)
    options = Options().model_copy(update=asked)
    return InferenceRequest(images, options, layout, negotiates=not notebook)


def check_size(body: bytes) -> None:
    """Raise RequestError for JSON that has more values than any request needs.

    It takes a millisecond for each MiB, and stops early: a parser would first make a million
    objects of a hostile body.
    """
    values = 0
    for start in range(0, len(body), SCAN_BYTES):
        piece = body[start : start + SCAN_BYTES]
        values += piece.count(b",") + piece.count(b"{") + piece.count(b"[")
        if values > MAX_JSON_VALUES:
            raise RequestError(f"body: more than {MAX_JSON_VALUES} JSON values", field="body")


def _object(body: bytes) -> dict[str, Any]:
    """The JSON object in `body`. Raises RequestError."""
    check_size(body)
    try:
        content = from_json(body)
    except ValueError as error:
        raise RequestError(f"body: Invalid JSON: {error}", field="body") from None
    if not isinstance(content, dict):
        raise RequestError("body: Input should be an object", field="body")
    return content


def _lines(body: bytes) -> list[bytes]:
    """The lines of a body that are not empty. Raises RequestError for none, or too many."""
    check_size(body)
    lines = [line for line in body.split(b"\n", MAX_IMAGES + 1) if line.strip()]
    if not 1 <= len(lines) <= MAX_IMAGES:
        raise RequestError(f"body: 1 to {MAX_IMAGES} lines of JSON are allowed", field="body")
    return lines


def _line(line: bytes) -> object:
    try:
        return _object(line)
    except RequestError as error:
        return error


def _strings(values: Mapping[str, str], kind: str) -> Attributes:
    try:
        return Attributes.model_validate_strings(_ours(Attributes, values, kind))
    except ValidationError as error:
        raise _refusal(error, kind) from None


def _validated(schema: type[S], content: Mapping[str, Any]) -> S:
    try:
        return schema.model_validate(_ours(schema, content), strict=True)
    except ValidationError as error:
        raise _refusal(error, "") from None


def _ours(schema: type[BaseModel], values: Mapping[str, Any], kind: str = "") -> dict[str, Any]:
    """The values that a schema has fields for and that are not null.

    The rest is passed over, as the old containers did. Raises RequestError if there are more than
    anybody needs, or if one looks like a misspelt field.
    """
    if len(values) > MAX_FIELDS:
        raise RequestError(f"{kind or 'body: '}more than {MAX_FIELDS} fields", field="body")
    ours = {name: value for name, value in values.items() if name in schema.model_fields}
    for name in values.keys() - ours.keys():
        if (nearest := _nearest(name)) is not None:
            shown = name[:80]
            raise RequestError(
                f"{kind}{shown}: no such field here; the nearest is {nearest}", field=shown
            )
    return {name: value for name, value in ours.items() if value is not None}


def _nearest(name: str) -> str | None:
    """The field, of whatever part of a request, that a name is meant to be. None: none of them."""
    plain = name[:80].lower().replace("-", "_")
    fields = [*JsonRequest.model_fields, "instances"]
    if plain in (*fields, "model"):
        return plain
    # Names of three letters resemble too many others.
    longer = [field for field in fields if len(field) > 3]
    return next(iter(difflib.get_close_matches(plain, longer, n=1, cutoff=SIMILARITY)), None)


def _instance(value: object) -> Encoded | RequestError:
    if isinstance(value, RequestError):
        return value
    if not isinstance(value, dict):
        return RequestError("body: each of the instances should be an object", field="body")
    try:
        instance = _validated(Instance, value)
        return Encoded(instance.img_id, _base64(instance.img_data))
    except RequestError as error:
        return error


def _refusal(error: ValidationError, kind: str) -> RequestError:
    """The first thing that is wrong; never the value, which may be large or private."""
    first = error.errors(include_url=False, include_input=False)[0]
    field = str(first["loc"][0])[:80] if first["loc"] else "body"
    return RequestError(f"{kind}{field}: {first['msg']}", field=field)


def _base64(text: str) -> bytes:
    with contextlib.suppress(ValueError):
        return fast_base64.b64decode(text, validate=True)
    # Broken over lines, or wrong: the slow way knows what is wrong.
    try:
        data = text.encode("ascii").translate(None, b" \t\r\n")
        return base64.b64decode(data, validate=True)
    except (UnicodeEncodeError, binascii.Error) as error:
        raise RequestError(f"img_data: not base64 ({error})", field="img_data") from None

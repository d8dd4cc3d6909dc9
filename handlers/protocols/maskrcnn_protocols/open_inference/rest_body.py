"""Bodies of the REST transport: JSON, with tensors in it or as bytes after it.

Source: https://github.com/kserve/open-inference-protocol (REST) and Triton's binary data extension.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from math import prod
from typing import Any

import numpy as np
from pydantic import BaseModel, Field, ValidationError
from pydantic_core import from_json

from maskrcnn_protocols.open_inference.inference import BASE64, IMAGE, Asked
from maskrcnn_protocols.open_inference.tensors import (
    BYTES,
    Tensor,
    checked,
    of_elements,
    of_raw,
)
from maskrcnn_server.errors import RequestError

HEADER_LENGTH = "Inference-Header-Content-Length"
"""Header with the number of bytes of JSON before the binary data."""
MAX_VALUES = 1 << 20
"""Number of commas and opening brackets in JSON at most. More numbers travel as binary data."""
SCAN_BYTES = 1 << 16


class _Output(BaseModel):
    name: str = Field(max_length=256)
    parameters: dict[str, Any] = {}


class _Input(_Output):
    shape: list[int] = Field(max_length=8)
    datatype: str = Field(max_length=16)
    data: Any = None


class _Body(BaseModel):
    id: str = Field("", max_length=1024)
    parameters: dict[str, Any] = {}
    inputs: list[_Input] = Field(max_length=64)
    outputs: list[_Output] = Field([], max_length=64)


class RestRequest:
    """A request of the REST transport.

    Raises RequestError if the body is not one.
    """

    def __init__(self, body: bytes, header_length: str | None) -> None:
        text, binary = _split(body, header_length)
        content = _validated(text)
        self.asked = Asked(
            inputs=_inputs(content.inputs, binary),
            outputs=[one.name for one in content.outputs],
            parameters=content.parameters,
            id=content.id,
        )
        self._all_binary = content.parameters.get("binary_data_output") is True
        self._binary = {one.name: one.parameters.get("binary_data") for one in content.outputs}

    def reply(self, model: str, tensors: Sequence[Tensor]) -> tuple[bytes, dict[str, str]]:
        """The body of the reply, and its headers."""
        described: list[dict[str, object]] = []
        pieces: list[bytes] = []
        for tensor in tensors:
            entry: dict[str, object] = {
                "name": tensor.name,
                "datatype": tensor.datatype,
                "shape": list(tensor.shape),
            }
            is_binary = self._binary.get(tensor.name)
            if self._all_binary if is_binary is None else is_binary is True:
                pieces.append(tensor.raw())
                described.append(entry | {"parameters": {"binary_data_size": len(pieces[-1])}})
            else:
                described.append(entry | {"data": _listed(tensor)})
        content: dict[str, object] = {
            "model_name": model,
            "model_version": "1",
            "outputs": described,
        }
        if self.asked.id:
            content["id"] = self.asked.id
        text = json.dumps(content, separators=(",", ":")).encode()
        if not pieces:
            return text, {"Content-Type": "application/json"}
        headers = {"Content-Type": "application/octet-stream", HEADER_LENGTH: str(len(text))}
        return b"".join([text, *pieces]), headers


def _split(body: bytes, header_length: str | None) -> tuple[bytes, memoryview]:
    if header_length is None:
        return body, memoryview(b"")
    length = int(header_length) if header_length.isdecimal() and len(header_length) < 18 else -1
    if not 0 <= length <= len(body):
        raise RequestError(
            f"{HEADER_LENGTH}: {header_length[:20]!r} is not a length within the body's {len(body)}"
            " bytes",
            field=HEADER_LENGTH,
        )
    return body[:length], memoryview(body)[length:]


def _validated(text: bytes) -> _Body:
    values = 0
    for start in range(0, len(text), SCAN_BYTES):
        piece = text[start : start + SCAN_BYTES]
        values += piece.count(b",") + piece.count(b"[") + piece.count(b"{")
        if values > MAX_VALUES:
            raise RequestError(
                f"body: more than {MAX_VALUES} JSON values; send pixels as binary data",
                field="body",
            )
    try:
        return _Body.model_validate(from_json(text))
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"]))[:160] or "body"
        raise RequestError(f"{where}: {first['msg']}", field="body") from None
    except ValueError as error:
        raise RequestError(f"body: Invalid JSON: {error}", field="body") from None


def _inputs(given: Sequence[_Input], binary: memoryview) -> list[Tensor]:
    found, start = [], 0
    for one in given:
        size = one.parameters.get("binary_data_size")
        if size is None:
            found.append(_of_json(one))
            continue
        if not isinstance(size, int) or not 0 <= size <= len(binary) - start:
            raise RequestError(
                f"input {one.name}: binary_data_size {str(size)[:20]} is not within the "
                f"{len(binary) - start} bytes that follow",
                field="binary_data_size",
            )
        raw = bytes(binary[start : start + size])
        found.append(of_raw(one.name, one.datatype, one.shape, raw, one.parameters))
        start += size
    if start != len(binary):
        raise RequestError(
            f"body: {len(binary) - start} bytes follow the binary data of the inputs", field="body"
        )
    return found


def _of_json(given: _Input) -> Tensor:
    """A tensor whose data is in the JSON, flat or nested. Image files in JSON are base64."""
    shape = checked(given.name, given.datatype, given.shape)
    if given.datatype == BYTES:
        texts = _flat_texts(given)
        tensor = of_elements(given.name, shape, [one.encode() for one in texts])
        encoded: Mapping[str, object] = {"content_type": BASE64} if given.name == IMAGE else {}
        return Tensor(given.name, BYTES, shape, tensor.data, {**given.parameters, **encoded})
    try:
        values = np.asarray(given.data)
        is_pixels = given.datatype == "UINT8" and values.dtype.kind in "iu"
        if not is_pixels or values.size != prod(shape) or values.min() < 0 or values.max() > 255:
            raise ValueError
    # NumPy raises the same for lists of unequal lengths.
    except (ValueError, OverflowError):
        raise RequestError(
            f"input {given.name}: data in JSON is texts (BYTES), or UINT8 of shape {list(shape)}",
            field=given.name,
        ) from None
    data = values.astype(np.uint8).reshape(shape)
    return Tensor(given.name, given.datatype, shape, data, given.parameters)


def _flat_texts(given: _Input) -> list[str]:
    data = given.data if isinstance(given.data, list) else [given.data]
    flat = [one for row in data for one in (row if isinstance(row, list) else [row])]
    if not all(isinstance(one, str) for one in flat):
        raise RequestError(f"input {given.name}: data is a list of texts", field=given.name)
    return flat


def _listed(tensor: Tensor) -> list[object]:
    if isinstance(tensor.data, np.ndarray):
        listed: list[object] = tensor.data.ravel().tolist()
        return listed
    return [one.decode() for one in tensor.data]

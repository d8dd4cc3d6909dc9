"""Tensors of the Open Inference Protocol, and their bytes.

Source: https://github.com/kserve/open-inference-protocol and, for the bytes, Triton's
docs/protocol/extension_binary_data.md.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from math import prod
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from maskrcnn_server.errors import RequestError

BYTES = "BYTES"
NUMBERS: Mapping[str, np.dtype[Any]] = {
    "FP32": np.dtype("<f4"),
    "INT64": np.dtype("<i8"),
    "UINT8": np.dtype("u1"),
    "UINT16": np.dtype("<u2"),
}
"""Data types of the tensors that are read or written here, little-endian as on the wire."""
LENGTH = struct.Struct("<I")
"""Number of bytes before each element of type BYTES."""

Data: TypeAlias = NDArray[Any] | Sequence[bytes]


@dataclass(frozen=True, eq=False)
class Tensor:
    """A named array. `data` is an array of `shape`, or of BYTES the elements in row-major order."""

    name: str
    datatype: str
    shape: tuple[int, ...]
    data: Data
    parameters: Mapping[str, object] = field(default_factory=dict)

    def raw(self) -> bytes:
        """The bytes of the data, in row-major order, each element of BYTES after its length."""
        if isinstance(self.data, np.ndarray):
            return self.data.astype(NUMBERS[self.datatype], copy=False).tobytes()
        return b"".join(part for one in self.data for part in (LENGTH.pack(len(one)), one))


def of_raw(
    name: str, datatype: str, shape: Sequence[int], raw: bytes, parameters: Mapping[str, object]
) -> Tensor:
    """The tensor with these bytes. Raises RequestError if they are not of its type and shape."""
    sized = checked(name, datatype, shape)
    if datatype == BYTES:
        return Tensor(name, datatype, sized, elements(name, raw, prod(sized)), parameters)
    dtype = NUMBERS[datatype]
    if len(raw) != prod(sized) * dtype.itemsize:
        raise RequestError(
            f"input {name}: {len(raw)} bytes are not {datatype} of shape {list(sized)}", field=name
        )
    return Tensor(name, datatype, sized, np.frombuffer(raw, dtype).reshape(sized), parameters)


def of_elements(name: str, shape: Sequence[int], data: Sequence[bytes]) -> Tensor:
    """The tensor with these elements of type BYTES. Raises RequestError for another number."""
    sized = checked(name, BYTES, shape)
    if len(data) != prod(sized):
        raise RequestError(
            f"input {name}: {len(data)} elements are not of shape {list(sized)}", field=name
        )
    return Tensor(name, BYTES, sized, data)


def checked(name: str, datatype: str, shape: Iterable[object]) -> tuple[int, ...]:
    """The shape, if a tensor may be of this type and shape. Raises RequestError if not."""
    if datatype != BYTES and datatype not in NUMBERS:
        raise RequestError(f"input {name[:80]}: datatype {datatype[:20]!r} is not read", field=name)
    sized = tuple(shape)
    if len(sized) > 8 or not all(isinstance(n, int) and 0 <= n < 1 << 31 for n in sized):
        raise RequestError(f"input {name[:80]}: shape is a list of up to 8 lengths", field=name)
    return sized  # type: ignore[return-value]  # checked one by one


def elements(name: str, raw: bytes, count: int) -> list[bytes]:
    """The elements of type BYTES in `raw`. Raises RequestError unless there are `count`."""
    found: list[bytes] = []
    start = 0
    while start < len(raw) and len(found) < count:
        end = start + LENGTH.size
        length = LENGTH.unpack_from(raw, start)[0] if end <= len(raw) else len(raw)
        found.append(raw[end : end + length])
        start = end + length
    if start != len(raw) or len(found) != count:
        raise RequestError(
            f"input {name}: {len(raw)} bytes are not {count} elements with their lengths in front",
            field=name,
        )
    return found

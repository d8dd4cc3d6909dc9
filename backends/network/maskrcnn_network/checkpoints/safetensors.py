"""Safetensors' files: a header in JSON, then the tensors' bytes.

Source: the format's description in huggingface/safetensors, README.md.
"""

import json
import math
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from maskrcnn_network.checkpoints.checkpoint import MAX_NUMBERS
from maskrcnn_network.checkpoints.refusals import unreadable
from maskrcnn_server.errors import InvalidModel
from maskrcnn_server.work import Meter, meter

SUFFIX = ".safetensors"
MAX_HEADER_BYTES = 4 << 20
"""Maximum size of a header. That of a Mask R-CNN has 40 kB."""
BYTES_PER_STEP = 32
"""Bytes of a header that are parsed in a step of work."""
ENTRY_STEPS = 6
"""Steps of work that checking a tensor's entry takes."""
METADATA = "__metadata__"
WIDTHS = {
    "F64": 8, "F32": 4, "F16": 2, "BF16": 2,
    "I64": 8, "I32": 4, "I16": 2, "I8": 1,
    "U64": 8, "U32": 4, "U16": 2, "U8": 1,
    "BOOL": 1, "F8_E4M3": 1, "F8_E5M2": 1,
}  # fmt: skip
"""Bytes of a number of each type."""
FLOATS = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2"}
"""NumPy's types of those that are weights; the bits of bfloat16."""


class _Place(NamedTuple):
    dtype: str
    shape: tuple[int, ...]
    start: int
    """Offset in the file."""
    size: int


class Safetensors:
    """The tensors of a safetensors file by name."""

    def __init__(self, path: Path) -> None:
        """Raises InvalidModel if the file is not such a file, or tensors lie outside of it."""
        self.path = path
        try:
            self._places = _places(path, meter(path))
        except (ValueError, RecursionError) as error:
            reason = f"not a file in safetensors' format ({str(error)[:300]})"
            with path.open("rb") as file:
                is_one = file.read(9)[8:] == b"{"
            found = InvalidModel(f"{path}: {reason}") if is_one else unreadable(path, reason)
            raise found from None
        self.shapes = {name: place.shape for name, place in self._places.items()}

    def read(self, name: str) -> NDArray[np.float32]:
        """A tensor's value. Raises InvalidModel if it is not floating-point."""
        place = self._places[name]
        if place.dtype not in FLOATS:
            raise InvalidModel(f"{self.path}: {name} is {place.dtype}, not floating-point")
        with self.path.open("rb") as file:
            file.seek(place.start)
            data = file.read(place.size)
        if len(data) != place.size:
            raise InvalidModel(f"{self.path}: {name} is cut off")
        values: NDArray[Any] = np.frombuffer(data, FLOATS[place.dtype])
        if place.dtype == "BF16":
            values = (values.astype(np.uint32) << 16).view(np.float32)
        return values.reshape(place.shape).astype(np.float32)


def _places(path: Path, meter: Meter) -> dict[str, _Place]:
    """Where each tensor is. Raises ValueError."""
    with path.open("rb") as file:
        start = file.read(8)
        length = int.from_bytes(start, "little")
        if len(start) < 8 or length > MAX_HEADER_BYTES:
            raise ValueError(f"its header is not of 2 to {MAX_HEADER_BYTES} bytes")
        meter.spend(length // BYTES_PER_STEP)
        text = file.read(length)
        available = file.seek(0, 2) - 8 - length
    if len(text) < length:
        raise ValueError("its header is cut off")
    header = json.loads(text)
    if not isinstance(header, dict):
        raise ValueError("its header is not an object")
    places = {}
    for name, entry in header.items():
        if name != METADATA:
            meter.spend(ENTRY_STEPS)
            places[name] = _place(name, entry, 8 + length, available)
    return places


def _place(name: str, entry: object, first: int, available: int) -> _Place:
    """The place of a tensor. `available` bytes are in the file from offset `first`."""
    match entry:
        case {"dtype": str(dtype), "shape": list(shape), "data_offsets": [int(begin), int(end)]}:
            pass
        case _:
            raise ValueError(f"{name[:100]} has no dtype, shape and data_offsets")
    if any(not isinstance(side, int) or not 0 <= side <= MAX_NUMBERS for side in shape):
        raise ValueError(f"{name[:100]} has an impossible shape")
    if dtype not in WIDTHS:
        raise ValueError(f"{name[:100]} is {dtype[:20]!r}, which is not known")
    size = math.prod(shape[:8]) * WIDTHS[dtype]
    if len(shape) > 8 or size > MAX_NUMBERS * 8:
        raise ValueError(f"{name[:100]} is too large")
    if not 0 <= begin <= end <= available or end - begin != size:
        raise ValueError(f"{name[:100]} is not where its data_offsets say: the file is cut off")
    return _Place(dtype, tuple(shape), first + begin, size)

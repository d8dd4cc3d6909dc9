"""TensorFlow's V2 checkpoints (`.index` and `.data-*`) without TensorFlow.

The index is an SSTable in LevelDB's format whose values are protocol buffers of type
`BundleEntryProto`. Sources: tensorflow/core/util/tensor_bundle, tsl/lib/io/format.cc,
tensorflow/core/protobuf/tensor_bundle.proto.
"""

import math
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import google_crc32c
import numpy as np
from numpy.typing import NDArray

from maskrcnn_network.checkpoints.refusals import unreadable
from maskrcnn_server.errors import InvalidModel
from maskrcnn_server.work import STEP_BYTES, Meter, meter

MAX_INDEX_BYTES = 16 << 20
"""Maximum size of an index. That of a Mask R-CNN has 40 kB."""
MAX_KEY_BYTES = 1024
"""Maximum length of a variable's name."""
RECORD_STEPS = 8
"""Steps of work that an entry takes, besides its fields."""
MAGIC = 0xDB4775248B80FB57
FOOTER_BYTES = 48
FLOATS: dict[int, np.dtype[Any]] = {1: np.dtype("<f4"), 2: np.dtype("<f8"), 19: np.dtype("<f2")}
"""Floating-point members of TensorFlow's `DataType`."""


@dataclass(frozen=True)
class Entry:
    """One tensor: where its bytes are, and what they mean."""

    dtype: int
    shape: tuple[int, ...]
    shard: int
    offset: int
    size: int
    checksum: int
    """Masked CRC-32C of the bytes."""


class TensorBundle:
    """A V2 checkpoint by the path of its `.index` file.

    Raises InvalidModel if the index is invalid, or a data file is missing or too short.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._shards, self.entries = _Index(_read(path), meter(path)).entries()
        except (IndexError, ValueError, struct.error) as error:
            raise unreadable(
                path, f"not the index of a TensorFlow V2 checkpoint ({error})"
            ) from error
        self._check_data_files()

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The shape of every variable by name."""
        return {name: entry.shape for name, entry in self.entries.items()}

    def read(self, name: str) -> NDArray[np.float32]:
        """A variable's value, with its checksum verified."""
        entry = self.entries[name]
        if entry.dtype not in FLOATS:
            raise InvalidModel(f"{self.path}: {name} is not a floating-point variable")
        dtype = FLOATS[entry.dtype]
        if entry.size != math.prod(entry.shape) * dtype.itemsize:
            raise InvalidModel(f"{self.path}: {name} has {entry.size} bytes for {entry.shape}")
        with self._data_file(entry.shard).open("rb") as file:
            file.seek(entry.offset)
            data = file.read(entry.size)
        if _masked(google_crc32c.value(data)) != entry.checksum:
            raise InvalidModel(f"{self._data_file(entry.shard)}: {name} is damaged (checksum)")
        values = np.frombuffer(data, dtype)
        return values.reshape(entry.shape).astype(np.float32)

    def _data_file(self, shard: int) -> Path:
        return self.path.with_suffix(f".data-{shard:05d}-of-{self._shards:05d}")

    def _check_data_files(self) -> None:
        needed: dict[int, int] = {}
        for entry in self.entries.values():
            end = entry.offset + entry.size
            needed[entry.shard] = max(needed.get(entry.shard, 0), end)
        for shard, size in needed.items():
            file = self._data_file(shard)
            if not file.is_file():
                raise InvalidModel(f"{file}: missing, although {self.path.name} refers to it")
            if file.stat().st_size < size:
                raise InvalidModel(
                    f"{file}: truncated: {file.stat().st_size} bytes instead of {size}"
                )


def _read(path: Path) -> bytes:
    with path.open("rb") as file:
        data = file.read(MAX_INDEX_BYTES + 1)
    if len(data) > MAX_INDEX_BYTES:
        raise ValueError(f"larger than {MAX_INDEX_BYTES} bytes")
    return data


class _Index:
    """The content of an index, whose parsing is counted."""

    def __init__(self, data: bytes, meter: Meter) -> None:
        self._data = data
        self._meter = meter

    def entries(self) -> tuple[int, dict[str, Entry]]:
        """The number of data files, and the entries by name."""
        footer = self._data[-FOOTER_BYTES:]
        if len(footer) < FOOTER_BYTES or struct.unpack("<Q", footer[-8:])[0] != MAGIC:
            raise ValueError("no table footer: the file is truncated or not an index")
        _, at = _handle(footer, 0)
        (start, size), _ = _handle(footer, at)
        shards = 1
        entries = {}
        for _, value in self._records(self._block(start, size)):
            (start, size), _ = _handle(value, 0)
            for key, record in self._records(self._block(start, size)):
                if key == b"":
                    shards = self._single(record).get(1, 1)
                else:
                    entries[key.decode()] = self._entry(record)
        return shards, entries

    def _block(self, start: int, size: int) -> bytes:
        """A block's contents, which are followed by a compression byte and a checksum."""
        data = self._data
        if start + size + 5 > len(data):
            raise ValueError("a block lies beyond the end of the file")
        self._meter.spend(1 + size // STEP_BYTES)
        compression = data[start + size]
        if compression != 0:
            raise ValueError(f"compression {compression} is not supported")
        (checksum,) = struct.unpack_from("<I", data, start + size + 1)
        if _masked(google_crc32c.value(data[start : start + size + 1])) != checksum:
            raise ValueError("a block is damaged (checksum)")
        return data[start : start + size]

    def _records(self, block: bytes) -> Iterator[tuple[bytes, bytes]]:
        """Keys and values; each key is stored as its difference from the previous one."""
        (restarts,) = struct.unpack_from("<I", block, len(block) - 4)
        end, at, key = len(block) - 4 * (restarts + 1), 0, b""
        while at < end:
            self._meter.spend(RECORD_STEPS)
            shared, at = _varint(block, at)
            unshared, at = _varint(block, at)
            length, at = _varint(block, at)
            key = key[:shared] + block[at : at + unshared]
            if len(key) > MAX_KEY_BYTES:
                raise ValueError(f"a name of more than {MAX_KEY_BYTES} bytes")
            at += unshared
            yield key, block[at : at + length]
            at += length

    def _entry(self, record: bytes) -> Entry:
        single = self._single(record)
        shape: list[int] = []
        for number, value in self._fields(record):
            if number == 2 and isinstance(value, bytes):
                dims = (d for n, d in self._fields(value) if n == 2 and isinstance(d, bytes))
                shape = [self._single(dim).get(1, 0) for dim in dims]
            if number == 7:
                raise ValueError("partitioned variables are not supported")
        return Entry(
            dtype=single.get(1, 0),
            shape=tuple(shape),
            shard=single.get(3, 0),
            offset=single.get(4, 0),
            size=single.get(5, 0),
            checksum=single.get(6, 0),
        )

    def _single(self, record: bytes) -> dict[int, int]:
        return {n: value for n, value in self._fields(record) if isinstance(value, int)}

    def _fields(self, record: bytes) -> Iterator[tuple[int, int | bytes]]:
        """Field numbers and values of a protocol buffer message."""
        at = 0
        while at < len(record):
            self._meter.spend()
            tag, at = _varint(record, at)
            number, kind = tag >> 3, tag & 7
            if kind == 0:
                value, at = _varint(record, at)
                yield number, value
            elif kind == 2:
                length, at = _varint(record, at)
                yield number, record[at : at + length]
                at += length
            elif kind == 5:
                yield number, struct.unpack_from("<I", record, at)[0]
                at += 4
            else:
                raise ValueError(f"unexpected wire type {kind}")


def _handle(data: bytes, at: int) -> tuple[tuple[int, int], int]:
    start, at = _varint(data, at)
    size, at = _varint(data, at)
    return (start, size), at


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 64, 7):
        byte = data[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, at
    raise ValueError("a number of more than 64 bits")


def _masked(crc: int) -> int:
    """Apply LevelDB's mask, which keeps checksums of data with checksums in it strong."""
    return (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF

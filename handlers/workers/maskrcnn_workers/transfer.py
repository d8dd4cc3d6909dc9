"""Images and detections between processes: plain numbers; nothing is executed.

Images go through shared memory, detections through a pipe: a 12-megapixel image has 36 MB, its
detections a few hundred kilobytes.
"""

from __future__ import annotations

import json
import mmap
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from io import BytesIO
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from maskrcnn_server.detections import Detections, Proposals
from maskrcnn_server.masks import RoiMasks, RunLengthMasks
from maskrcnn_server.rle import RLE

if TYPE_CHECKING:
    from maskrcnn_server.backend import Image
    from maskrcnn_server.masks import Masks
    from maskrcnn_server.rle import Size

KEPT_BYTES = 64 << 20
"""Bytes of shared memory that are kept for the next images."""
MAX_MESSAGE = 1 << 29
"""Limit of a message in bytes."""

Arrays: TypeAlias = Iterator[NDArray[Any]]


class Pixels:
    """Memory that two processes share for images: one writes, the other reads.

    It has no name and lives as long as its descriptor, so nothing is left behind. Containers do not
    limit it to 64 MB as they do /dev/shm.
    """

    def __init__(self) -> None:
        if hasattr(os, "memfd_create"):
            self.file = os.memfd_create("maskrcnn-images")
        else:
            with tempfile.TemporaryFile() as anonymous:
                self.file = os.dup(anonymous.fileno())

    def write(self, images: Sequence[Image]) -> None:
        """Write images one after the other. Raises OSError if memory runs out."""
        offset = 0
        for image in images:
            rest = np.ascontiguousarray(image).data.cast("B")
            while rest:
                written = os.pwrite(self.file, rest, offset)
                rest, offset = rest[written:], offset + written

    def release(self) -> None:
        """Free most of the memory after the images were read."""
        if self.file >= 0 and os.fstat(self.file).st_size > KEPT_BYTES:
            os.truncate(self.file, KEPT_BYTES)

    def close(self) -> None:
        """Free the memory. May be called twice."""
        if self.file >= 0:
            os.close(self.file)
        self.file = -1


def read_images(file: int, sizes: Sequence[Size]) -> list[Image]:
    """The images of these sizes that `Pixels.write` wrote, read-only."""
    total = 3 * sum(height * width for height, width in sizes)
    if not total:
        return []
    shared = np.frombuffer(mmap.mmap(file, total, prot=mmap.PROT_READ), np.uint8)
    ends = np.cumsum([3 * height * width for height, width in sizes])[:-1]
    parts = np.split(shared, ends)
    return [part.reshape(*size, 3) for part, size in zip(parts, sizes, strict=True)]


def pack(header: Mapping[str, Any], detections: Sequence[Detections] = ()) -> bytes:
    """A message of JSON values and detections."""
    arrays: list[NDArray[Any]] = []
    described = [_disassembled(each, arrays) for each in detections]
    message = BytesIO()
    message.write(json.dumps({**header, "found": described}, default=str).encode() + b"\n")
    for array in arrays:
        np.save(message, array, allow_pickle=False)
    return message.getvalue()


def unpack(message: bytes) -> tuple[dict[str, Any], list[Detections]]:
    """The contents of a message of `pack`. Raises ValueError or KeyError for any other."""
    file = BytesIO(message)
    header = json.loads(file.readline())
    arrays = _arrays(file)
    return header, [_assembled(one, arrays) for one in header.pop("found")]


def _arrays(file: BytesIO) -> Arrays:
    while True:
        yield np.load(file, allow_pickle=False)


def _disassembled(found: Detections, arrays: list[NDArray[Any]]) -> dict[str, Any]:
    """Description of detections in JSON values; their arrays are appended to `arrays`."""
    arrays += found.boxes, found.scores, found.category_ids
    described: dict[str, Any] = {"size": found.size, "masks": None}
    match found.masks:
        case None:
            pass
        case RoiMasks() as masks:
            arrays += masks.probabilities, masks.boxes
            described["masks"] = {"threshold": masks.threshold}
        # A hundred bitmaps of a 12-megapixel image have 1.2 GB.
        case masks:
            runs = masks.rle("rows")
            arrays.append(np.array([len(run.counts) for run in runs], np.int64))
            arrays.append(np.concatenate([np.zeros(0, np.int64), *(run.counts for run in runs)]))
            described["masks"] = {}
    if found.proposals is not None:
        part = found.proposals
        arrays += part.boxes, part.scores, part.class_scores
    return described | {"proposals": found.proposals is not None}


def _assembled(described: Mapping[str, Any], arrays: Arrays) -> Detections:
    height, width = described["size"]
    size = (int(height), int(width))
    boxes, scores, category_ids = (next(arrays) for _ in range(3))
    masks: Masks | None = None
    if described["masks"]:
        probabilities, mask_boxes = next(arrays), next(arrays)
        masks = RoiMasks(probabilities, mask_boxes, size, described["masks"]["threshold"])
    elif described["masks"] is not None:
        lengths, counts = next(arrays), next(arrays)
        runs = np.split(counts, np.cumsum(lengths)[:-1]) if len(lengths) else []
        masks = RunLengthMasks([RLE(run, size, "rows") for run in runs], size)
    proposals = None
    if described["proposals"]:
        proposals = Proposals(*(next(arrays) for _ in range(3)))
    return Detections(size, boxes, scores, category_ids, masks, proposals)

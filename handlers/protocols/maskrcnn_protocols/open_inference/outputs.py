"""The tensors of a reply: the instances of all images one after the other, and their images."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from maskrcnn_protocols.open_inference.tensors import BYTES, Tensor
from maskrcnn_server.errors import RequestError
from maskrcnn_server.masks import RoiMasks
from maskrcnn_server.rle import compressed

if TYPE_CHECKING:
    from maskrcnn_protocols.collected import Found
    from maskrcnn_server.masks import Masks

SHAPES: Mapping[str, tuple[str, list[int]]] = {
    "boxes": ("FP32", [-1, 4]),
    "scores": ("FP32", [-1]),
    "labels": ("INT64", [-1]),
    "names": (BYTES, [-1]),
    "image_index": ("INT64", [-1]),
    "image_sizes": ("INT64", [-1, 2]),
    "masks_rle": (BYTES, [-1]),
    "masks_28": ("FP32", [-1, 28, 28]),
    "masks": ("UINT16", [-1, -1, -1]),
}
"""Data type and shape of each output; -1: any length."""
PLAIN = ("boxes", "scores", "labels", "names", "image_index", "image_sizes")
"""Outputs that a request gets which asks for none, besides `masks_rle`."""
MAX_INSTANCES = (1 << 16) - 1
"""Number of instances that a map can tell apart."""


def tensors(predictions: Sequence[Found], wanted: Sequence[str]) -> list[Tensor]:
    """The wanted outputs for D instances in N images. Empty `wanted`: those of `PLAIN`, and
    `masks_rle` if there are masks.

    Raises RequestError for an output that does not exist, or that this model does not give.
    """
    if not wanted:
        have_masks = all(one.detections.masks is not None for one in predictions)
        wanted = (*PLAIN, "masks_rle") if have_masks else PLAIN
    return [_WRITERS[check(name)](predictions) for name in wanted]


def check(name: str) -> str:
    """The name of an output. Raises RequestError if there is no such output."""
    if name not in SHAPES:
        raise RequestError(
            f"no output {name[:80]!r}; the outputs are {', '.join(SHAPES)}", field="outputs"
        )
    return name


def _boxes(predictions: Sequence[Found]) -> Tensor:
    boxes = np.concatenate([one.detections.boxes for one in predictions])
    return Tensor("boxes", "FP32", boxes.shape, boxes)


def _scores(predictions: Sequence[Found]) -> Tensor:
    scores = np.concatenate([one.detections.scores for one in predictions])
    return Tensor("scores", "FP32", scores.shape, scores)


def _labels(predictions: Sequence[Found]) -> Tensor:
    labels = np.concatenate([one.detections.category_ids for one in predictions])
    return Tensor("labels", "INT64", labels.shape, labels)


def _names(predictions: Sequence[Found]) -> Tensor:
    names: list[bytes] = []
    for one in predictions:
        known = {category.id: category.name.encode() for category in one.model.categories}
        names += [known[number] for number in one.detections.category_ids.tolist()]
    return Tensor("names", BYTES, (len(names),), names)


def _image_index(predictions: Sequence[Found]) -> Tensor:
    counts = [len(one.detections) for one in predictions]
    index = np.repeat(np.arange(len(predictions), dtype=np.int64), counts)
    return Tensor("image_index", "INT64", index.shape, index)


def _image_sizes(predictions: Sequence[Found]) -> Tensor:
    sizes = np.array([one.detections.size for one in predictions], np.int64)
    return Tensor("image_sizes", "INT64", sizes.shape, sizes)


def _masks_rle(predictions: Sequence[Found]) -> Tensor:
    texts: list[bytes] = []
    for one in predictions:
        masks = _masks(one, "masks_rle").rle("columns")
        for counts in compressed(masks):
            rle = {"size": list(one.detections.size), "counts": counts}
            texts.append(json.dumps(rle, separators=(",", ":")).encode())
    return Tensor("masks_rle", BYTES, (len(texts),), texts)


def _masks_28(predictions: Sequence[Found]) -> Tensor:
    found = []
    for one in predictions:
        masks = _masks(one, "masks_28")
        if not isinstance(masks, RoiMasks):
            raise RequestError(
                "output masks_28: this model's masks are bitmaps; ask for masks_rle or masks",
                field="outputs",
            )
        found.append(masks.probabilities)
    # An image without instances has no masks whose side would tell.
    soft = np.concatenate([one for one in found if len(one)] or found[:1])
    return Tensor("masks_28", "FP32", soft.shape, soft)


def _instance_maps(predictions: Sequence[Found]) -> Tensor:
    sizes = {one.detections.size for one in predictions}
    if len(sizes) > 1:
        raise RequestError(
            "output masks: the images have different sizes; ask for masks_rle, or image by image",
            field="outputs",
        )
    maps = np.zeros((len(predictions), *sizes.pop()), np.uint16)
    for numbers, one in zip(maps, predictions, strict=True):
        masks = _masks(one, "masks").rle("rows")[:MAX_INSTANCES]
        for number, mask in reversed(list(enumerate(masks, start=1))):
            y, x, bitmap = mask.window()
            height, width = bitmap.shape
            numbers[y : y + height, x : x + width][bitmap] = number
    return Tensor("masks", "UINT16", maps.shape, maps)


def _masks(prediction: Found, name: str) -> Masks:
    masks = prediction.detections.masks
    if masks is None:
        raise RequestError(f"output {name}: there are no masks to write", field="outputs")
    return masks


_WRITERS: Mapping[str, Callable[[Sequence[Found]], Tensor]] = {
    "boxes": _boxes,
    "scores": _scores,
    "labels": _labels,
    "names": _names,
    "image_index": _image_index,
    "image_sizes": _image_sizes,
    "masks_rle": _masks_rle,
    "masks_28": _masks_28,
    "masks": _instance_maps,
}

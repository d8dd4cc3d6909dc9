"""Preparation of images on the device."""

from collections.abc import Callable, Sequence
from functools import lru_cache
from itertools import groupby
from typing import TypeAlias, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from maskrcnn_network.preparation import Preparation
from maskrcnn_server.backend import Image
from maskrcnn_server.rle import Size
from maskrcnn_torch.resize import resize

T = TypeVar("T", np.uint8, np.float32)
Prepare: TypeAlias = Callable[[Tensor, Tensor, Size, Preparation], None]


def prepared(
    rule: Preparation,
    images: Sequence[Image],
    sizes: Sequence[Size],
    device: torch.device,
    dtype: torch.dtype,
    prepare: Prepare,
) -> Tensor:
    """The batch that `Preparation.batch` makes of images, (batch, 3, height, width) channels_last.

    Bytes are sent to the device and resized there, unless only the host can do it: images of one
    size together, because every call of PyTorch lets other threads of the process go first.
    Nothing waits for the device.
    """
    shape = rule.padded_size(sizes[0])
    if rule.on_host:
        made = sent(rule.batch(images, sizes, shape), device)
        return made.to(dtype).permute(0, 3, 1, 2)
    if rule.resampling == "pillow":
        images = [
            np.asarray(rule.resized(image, size), np.uint8)
            for image, size in zip(images, sizes, strict=True)
        ]
    batch = torch.zeros((len(images), *shape, 3), dtype=dtype, device=device)
    done = 0
    for (_, size), group in groupby(
        zip(images, sizes, strict=True), lambda pair: (pair[0].shape, pair[1])
    ):
        alike = [image for image, _ in group]
        prepare(batch[done : done + len(alike)], stacked(alike, device), size, rule)
        done += len(alike)
    return batch.permute(0, 3, 1, 2)


def prepare(target: Tensor, images: Tensor, size: Size, rule: Preparation) -> None:
    """Resize and normalise `images` (n, H, W, 3) uint8 into the top left corners of `target`."""
    height, width = size
    mean, std = constant(rule.mean, images.device), constant(rule.std, images.device)
    for corner, image in zip(target[:, :height, :width], images, strict=True):
        pixels = resize(image, size, rule.resampling != "float")
        seen = (pixels if rule.channels == "RGB" else pixels.flip(-1)).float() - mean
        corner.copy_(seen if rule.std == (1, 1, 1) else seen / std)


@lru_cache(256)
def constant(values: float | tuple[float, ...] | tuple[Size, ...], device: torch.device) -> Tensor:
    """Numbers that many calls have in common, on the device or on their way there, float32."""
    return sent(np.array(values, np.float32), device)


def sent(values: NDArray[T], device: torch.device) -> Tensor:
    """An array on the device, or on its way there."""
    return stacked([values], device)[0]


def stacked(values: Sequence[NDArray[T]], device: torch.device) -> Tensor:
    """Arrays of one shape, one after the other, on the device, or on their way there."""
    kind = getattr(torch, values[0].dtype.name)
    shape = (len(values), *values[0].shape)
    pinned = torch.empty(shape, dtype=kind, pin_memory=device.type == "cuda")
    np.stack(values, out=pinned.numpy())
    return pinned.to(device, non_blocking=True)

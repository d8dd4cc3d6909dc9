"""Preparation of images on the device."""

from collections.abc import Callable, Sequence
from functools import lru_cache
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

    Bytes are sent to the device and resized there, unless only the host can do it. Nothing waits
    for the device: an image is copied into pinned memory while the device works on the previous
    ones.
    """
    shape = rule.padded_size(sizes[0])
    if rule.on_host:
        made = sent(rule.batch(images, sizes, shape), device)
        return made.to(dtype).permute(0, 3, 1, 2)
    batch = torch.zeros((len(images), *shape, 3), dtype=dtype, device=device)
    for target, image, size in zip(batch, images, sizes, strict=True):
        by_host = rule.resampling == "pillow"
        pixels = np.asarray(rule.resized(image, size), np.uint8) if by_host else image
        prepare(target, sent(pixels, device), size, rule)
    return batch.permute(0, 3, 1, 2)


def prepare(target: Tensor, image: Tensor, size: Size, rule: Preparation) -> None:
    """Resize and normalise `image` (H, W, 3) uint8 into the top left corner of `target`."""
    height, width = size
    mean, std = triple(rule.mean, image.device), triple(rule.std, image.device)
    pixels = resize(image, size, rule.resampling != "float")
    seen = (pixels if rule.channels == "RGB" else pixels.flip(-1)).float() - mean
    target[:height, :width] = seen if rule.std == (1, 1, 1) else seen / std


@lru_cache(16)
def triple(values: tuple[float, float, float], device: torch.device) -> Tensor:
    """One number for each channel on the device, float32."""
    return torch.tensor(values, dtype=torch.float32, device=device)


def sent(values: NDArray[T], device: torch.device) -> Tensor:
    """An array on the device, or on its way there."""
    kind = getattr(torch, values.dtype.name)
    pinned = torch.empty(values.shape, dtype=kind, pin_memory=device.type == "cuda")
    pinned.numpy()[...] = values
    return pinned.to(device, non_blocking=True)

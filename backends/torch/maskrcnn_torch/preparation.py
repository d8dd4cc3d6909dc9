"""Preparation of images on the device."""

from collections.abc import Sequence
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from maskrcnn_network.preparation import Preparation
from maskrcnn_server.backend import Image
from maskrcnn_server.rle import Size
from maskrcnn_torch.resize import resize

T = TypeVar("T", np.uint8, np.float32)


def prepared(
    rule: Preparation,
    images: Sequence[Image],
    sizes: Sequence[Size],
    device: torch.device,
    dtype: torch.dtype,
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
    mean, std = (sent(np.array(v, np.float32), device) for v in (rule.mean, rule.std))
    for target, image, (height, width) in zip(batch, images, sizes, strict=True):
        if rule.resampling == "pillow":
            pixels = sent(np.asarray(rule.resized(image, (height, width)), np.uint8), device)
        else:
            pixels = resize(sent(image, device), (height, width), rule.resampling == "opencv")
        seen = pixels.float() - mean if rule.channels == "RGB" else pixels.flip(-1).float() - mean
        target[:height, :width] = seen if rule.std == (1, 1, 1) else seen / std
    return batch.permute(0, 3, 1, 2)


def sent(values: NDArray[T], device: torch.device) -> Tensor:
    """An array on the device, or on its way there."""
    kind = getattr(torch, values.dtype.name)
    pinned = torch.empty(values.shape, dtype=kind, pin_memory=device.type == "cuda")
    pinned.numpy()[...] = values
    return pinned.to(device, non_blocking=True)

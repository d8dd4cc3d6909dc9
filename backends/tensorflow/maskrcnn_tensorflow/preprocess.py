"""From a photograph to what the network sees."""

import math
from typing import TypeAlias

import cv2
import numpy as np
import PIL.Image
from numpy.typing import NDArray

from maskrcnn_server.backend import Image
from maskrcnn_server.errors import ImageTooLarge
from maskrcnn_server.rle import Size
from maskrcnn_tensorflow.config import NetworkConfig

Pixels: TypeAlias = NDArray[np.float32]
"""RGB (height, width, 3), 0 to 255."""

MAX_UNRESIZED_PIXELS = 4_000_000
"""Twice what the default resize gives: a network's memory grows with its image."""


def resized(image: Image, config: NetworkConfig) -> Pixels:
    """`image` with its short edge at `config.short_edge`, the long edge at most `long_edge`.

    Bilinear, as `config.resampling` says. A side never gets shorter than one pixel. Without a
    `short_edge`, `image` itself.

    Raises ImageTooLarge if it is not resized and has more than `MAX_UNRESIZED_PIXELS`.
    """
    pixels = np.empty((*_accepted_size(image, config), 3), np.float32)
    _resize(image, pixels, config)
    return pixels


def batch(images: list[Image], config: NetworkConfig) -> NDArray[np.float32]:
    """What the network sees of `images`, whose padded sizes are equal: resized, RGB minus mean.

    float32 (batch, height, width, 3), padded with zeros after the mean is taken off, as TensorPack
    does. Raises ImageTooLarge as `resized` does.
    """
    sizes = [_accepted_size(image, config) for image in images]
    pixels = np.zeros((len(images), *padded_size(sizes[0], config), 3), np.float32)
    for target, image, (height, width) in zip(pixels, images, sizes, strict=True):
        _resize(image, target[:height, :width], config)
        # Row by row: NumPy is five times slower at three numbers for each pixel.
        row = np.tile(np.array(config.rgb_mean, np.float32), width)
        inside = target.reshape(len(target), -1)[:height, : len(row)]
        inside -= row
    return pixels


def resized_size(size: Size, config: NetworkConfig) -> Size:
    """Height and width of what `resized` makes of an image of this size."""
    if config.short_edge is None:
        return size
    height, width = size
    scale = config.short_edge / min(height, width)
    edges = (
        (config.short_edge, scale * width)
        if height < width
        else (scale * height, config.short_edge)
    )
    shrink = min(1.0, config.long_edge / max(edges))
    new_height, new_width = (
        max(1, int(edge * shrink + config.resampling.rounding)) for edge in edges
    )
    return new_height, new_width


def box_scale(size: Size, config: NetworkConfig) -> NDArray[np.float32]:
    """By what boxes (x, y, x, y) in the resized image, once of `size`, are divided: (4,)."""
    y, x = (new / old for new, old in zip(resized_size(size, config), size, strict=True))
    if config.resampling.one_scale:
        x = y = math.sqrt(x * y)
    return np.array([x, y, x, y], np.float32)


def padded_size(size: Size, config: NetworkConfig) -> Size:
    """Height and width, with its padding, of a resized image of this size."""
    stride = config.stride
    height, width = (math.ceil(n / stride) * stride for n in size)
    return height, width


def _accepted_size(image: Image, config: NetworkConfig) -> Size:
    height, width = image.shape[:2]
    if config.short_edge is None and height * width > MAX_UNRESIZED_PIXELS:
        raise ImageTooLarge(
            f"the image has {width} x {height} pixels; this model takes images as they are, "
            f"and then at most {MAX_UNRESIZED_PIXELS} pixels",
            max_pixels=MAX_UNRESIZED_PIXELS,
        )
    return resized_size((height, width), config)


def _resize(image: Image, target: Pixels, config: NetworkConfig) -> None:
    """Fill `target`, which may be a window of a larger array."""
    height, width = target.shape[:2]
    rule = config.resampling
    if image.shape == target.shape:
        target[:] = image
    elif rule.antialias:
        picture = PIL.Image.fromarray(image)
        target[:] = np.asarray(picture.resize((width, height), PIL.Image.Resampling.BILINEAR))
    elif rule.whole:
        target[:] = cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR)
    else:
        pixels = image.astype(np.float32)
        cv2.resize(pixels, (width, height), dst=target, interpolation=cv2.INTER_LINEAR)

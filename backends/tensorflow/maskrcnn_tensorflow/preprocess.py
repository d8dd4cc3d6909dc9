"""From a photograph to what the network sees."""

import math
from typing import TypeAlias, TypeVar

import cv2
import numpy as np
import PIL.Image
from numpy.typing import NDArray

from maskrcnn_server.backend import Image
from maskrcnn_server.errors import ImageTooLarge
from maskrcnn_server.rle import Size
from maskrcnn_tensorflow.config import NetworkConfig

Pixels: TypeAlias = NDArray[np.uint8] | NDArray[np.float32]
"""RGB (height, width, 3), 0 to 255; whole numbers, or as they were interpolated."""

P = TypeVar("P", np.uint8, np.float32)

MAX_UNRESIZED_PIXELS = 4_000_000
"""Twice what the default resize gives: a network's memory grows with its image."""


def resized(image: Image, config: NetworkConfig) -> Pixels:
    """`image` with its short edge at `config.short_edge`, the long edge at most `long_edge`.

    Bilinear, as `config.resampling` says. A side never gets shorter than one pixel. Without a
    `short_edge`, `image` itself.

    Raises ImageTooLarge if it is not resized and has more than `MAX_UNRESIZED_PIXELS`.
    """
    height, width = image.shape[:2]
    if config.short_edge is None and height * width > MAX_UNRESIZED_PIXELS:
        raise ImageTooLarge(
            f"the image has {width} x {height} pixels; this model takes images as they are, "
            f"and then at most {MAX_UNRESIZED_PIXELS} pixels",
            max_pixels=MAX_UNRESIZED_PIXELS,
        )
    new_height, new_width = resized_size((height, width), config)
    if (new_height, new_width) == (height, width):
        return image
    rule = config.resampling
    if rule.antialias:
        picture = PIL.Image.fromarray(image)
        return np.array(picture.resize((new_width, new_height), PIL.Image.Resampling.BILINEAR))
    if rule.whole:
        return _interpolated(image, (new_width, new_height))
    return _interpolated(image.astype(np.float32), (new_width, new_height))


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


def _interpolated(pixels: NDArray[P], width_height: tuple[int, int]) -> NDArray[P]:
    result = cv2.resize(pixels, width_height, interpolation=cv2.INTER_LINEAR)
    return result.astype(pixels.dtype, copy=False)


def box_scale(image: Image, seen: Pixels, config: NetworkConfig) -> NDArray[np.float32]:
    """By what boxes (x, y, x, y) in `seen`, the resized `image`, are divided: (4,)."""
    y, x = seen.shape[0] / image.shape[0], seen.shape[1] / image.shape[1]
    if config.resampling.one_scale:
        x = y = math.sqrt(x * y)
    return np.array([x, y, x, y], np.float32)


def padded_size(size: Size, config: NetworkConfig) -> Size:
    """Height and width, with its padding, of a resized image of this size."""
    stride = config.stride
    height, width = (math.ceil(n / stride) * stride for n in size)
    return height, width


def batch(images: list[Pixels], config: NetworkConfig) -> NDArray[np.float32]:
    """Resized `images` of one padded size as float32 (batch, height, width, 3), RGB minus mean.

    Padded with zeros after the mean is taken off, as TensorPack does.
    """
    height, width = images[0].shape[:2]
    pixels = np.zeros((len(images), *padded_size((height, width), config), 3), np.float32)
    for target, image in zip(pixels, images, strict=True):
        # Row by row: NumPy is five times slower at three numbers for each pixel.
        height, width = image.shape[:2]
        row = np.tile(np.array(config.rgb_mean, np.float32), width)
        inside = target.reshape(len(target), -1)[:height, : len(row)]
        np.subtract(image.reshape(height, -1), row, out=inside, dtype=np.float32)
    return pixels

"""From a photograph to what the network sees."""

import math

import cv2
import numpy as np
from numpy.typing import NDArray

from maskrcnn_server.backend import Image
from maskrcnn_server.errors import ImageTooLarge
from maskrcnn_server.rle import Size
from maskrcnn_tensorflow.config import NetworkConfig

MAX_UNRESIZED_PIXELS = 4_000_000
"""Twice what the default resize gives: a network's memory grows with its image."""


def resized(image: Image, config: NetworkConfig) -> Image:
    """`image` with its short edge at `config.short_edge`, the long edge at most `long_edge`.

    As TensorPack's `CustomResize` does: bilinear on uint8, sizes rounded half up. A side never
    gets shorter than one pixel. Without a `short_edge`, `image` itself.

    Raises ImageTooLarge if it is not resized and has more than `MAX_UNRESIZED_PIXELS`.
    """
    height, width = image.shape[:2]
    if config.short_edge is None:
        if height * width > MAX_UNRESIZED_PIXELS:
            raise ImageTooLarge(
                f"the image has {width} x {height} pixels; this model takes images as they are, "
                f"and then at most {MAX_UNRESIZED_PIXELS} pixels",
                max_pixels=MAX_UNRESIZED_PIXELS,
            )
        return image
    scale = config.short_edge / min(height, width)
    edges = (
        (config.short_edge, scale * width)
        if height < width
        else (scale * height, config.short_edge)
    )
    shrink = min(1.0, config.long_edge / max(edges))
    new_height, new_width = (max(1, int(edge * shrink + 0.5)) for edge in edges)
    if (new_height, new_width) == (height, width):
        return image
    return np.asarray(
        cv2.resize(image, (new_width, new_height), interpolation=cv2.INTER_LINEAR), np.uint8
    )


def box_scale(original: Size, network: Size) -> float:
    """By what boxes in network coordinates are divided: the geometric mean of both axes' scales."""
    return math.sqrt(network[0] / original[0] * network[1] / original[1])


def padded_size(image: Image, config: NetworkConfig) -> Size:
    """Height and width of `image` with its padding."""
    stride = config.stride
    height, width = (math.ceil(n / stride) * stride for n in image.shape[:2])
    return height, width


def batch(images: list[Image], config: NetworkConfig) -> NDArray[np.float32]:
    """Resized `images` of one padded size as float32 (batch, height, width, 3), RGB minus mean.

    Padded with zeros after the mean is taken off, as TensorPack does.
    """
    pixels = np.zeros((len(images), *padded_size(images[0], config), 3), np.float32)
    for target, image in zip(pixels, images, strict=True):
        height, width = image.shape[:2]
        np.subtract(image, config.pixel_mean, out=target[:height, :width], dtype=np.float32)
    return pixels

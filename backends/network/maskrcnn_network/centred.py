"""Images in the middle of a black canvas, and boxes on whole pixels of the image."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from maskrcnn_network.preparation import Floats, Preparation, check_pixels
from maskrcnn_network.resize import faded
from maskrcnn_server.backend import Image
from maskrcnn_server.errors import InvalidImage
from maskrcnn_server.rle import Size


@dataclass(frozen=True, kw_only=True)
class CentredPreparation(Preparation):
    """How Matterport's Mask_RCNN prepares images: they grow to the short edge, and never shrink for
    it; a long edge above the maximum has precedence.

    The network's boxes are shares of the canvas: 0 is its first pixel, 1 its last.
    Source: mrcnn/utils.py, `resize_image`; mrcnn/model.py, `mold_image` and `unmold_detections`.
    """

    min_scale: float = 1.0
    """Minimum scale of a resized image, unless its long edge gets too long."""
    on_host: ClassVar[bool] = True

    @property
    def description(self) -> str:
        if self.short_edge is None:
            return f"none; sides are multiples of {self.multiple_of} pixels"
        limit = "" if math.isinf(self.long_edge) else f", long edge at most {self.long_edge}"
        return f"short edge at least {self.short_edge}{limit} pixels, on a black canvas"

    def resized_size(self, size: Size) -> Size:
        """Height and width of the resized image.

        Raises InvalidImage for an image that is not resized, and cannot be computed."""
        if self.short_edge is None:
            if any(side % self.multiple_of for side in size):
                raise InvalidImage(
                    f"the image has {size[1]} x {size[0]} pixels; this model does not resize "
                    f"images, and takes sides that are multiples of {self.multiple_of}"
                )
            return super().resized_size(size)
        scale = max(1.0, self.short_edge / min(size), self.min_scale)
        if round(max(size) * scale) > self.long_edge:
            scale = self.long_edge / max(size)
        height, width = resized = max(1, round(size[0] * scale)), max(1, round(size[1] * scale))
        if math.isinf(self.long_edge):
            check_pixels(resized, f"this model sees them as {width} x {height}")
        return resized

    def resized(self, image: Image, size: Size) -> Image | Floats:
        return image if size == image.shape[:2] else faded(image, size)

    def batch(self, images: Sequence[Image], sizes: Sequence[Size], shape: Size) -> Floats:
        """Images resized to `sizes`, in the middle of black canvases of `shape`, normalised.

        float32 (batch, height, width, 3).
        """
        canvas = np.zeros((len(images), *shape, 3), np.uint8)
        for target, image, size in zip(canvas, images, sizes, strict=True):
            top, left = self._corner(size, shape)
            target[top : top + size[0], left : left + size[1]] = self.resized(image, size)
        pixels = np.empty(canvas.shape, np.float32)
        values = np.arange(256, dtype=np.float64)
        for channel, (mean, std) in enumerate(zip(self.mean, self.std, strict=True)):
            normalised = ((values - mean) / std).astype(np.float32)
            source = channel if self.channels == "RGB" else 2 - channel
            pixels[..., channel] = normalised[canvas[..., source]]
        return pixels

    def image_boxes(self, boxes: Floats, size: Size, resized: Size) -> Floats:
        """Boxes (N, 4) on whole pixels of an image of `size`."""
        low, high = self._window(resized)
        shares = (boxes - np.tile(low, 2)) / np.tile(high - low, 2)
        height, width = size
        ends = np.array([width, height] * 2, np.float64) - 1
        whole = np.around(shares * ends + [0.0, 0.0, 1.0, 1.0])
        return np.clip(whole, 0, [width, height] * 2).astype(np.float32)

    def resized_boxes(self, boxes: Floats, resized: Size) -> Floats:
        scale, shift = self._in_pixels(resized)
        return np.asarray(boxes * scale + shift, np.float32)

    def network_boxes(self, boxes: Floats, resized: Size) -> Floats:
        scale, shift = self._in_pixels(resized)
        return np.asarray((boxes - shift) / scale, np.float32)

    def shown(self, boxes: Floats) -> NDArray[np.bool_]:
        """Detections with an area."""
        return np.asarray((boxes[:, 2:] > boxes[:, :2]).all(axis=1))

    def _corner(self, size: Size, shape: Size) -> Size:
        """Row and column of the canvas at which the image begins."""
        return (shape[0] - size[0]) // 2, (shape[1] - size[1]) // 2

    def _window(self, size: Size) -> tuple[Floats, Floats]:
        """First and last pixel (2,: x, y) of a resized image, as shares of its canvas."""
        shape = self.padded_size(size)
        last = np.array(shape[::-1], np.float32) - 1
        low = np.array(self._corner(size, shape)[::-1], np.float32)
        return low / last, (low + np.array(size[::-1], np.float32) - 1) / last

    def _in_pixels(self, size: Size) -> tuple[Floats, Floats]:
        """Factor and summand (4,) from shares of the canvas to pixels of the resized image."""
        shape = self.padded_size(size)
        top, left = self._corner(size, shape)
        scale = np.array([shape[1] - 1, shape[0] - 1] * 2, np.float32)
        return scale, np.array([-left, -top, 1 - left, 1 - top], np.float32)

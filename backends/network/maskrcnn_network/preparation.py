"""From images to the network's input, and from its boxes back to the images."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal, TypeAlias

import numpy as np
import PIL.Image
from numpy.typing import NDArray

from maskrcnn_network.resize import bilinear
from maskrcnn_server.backend import Image
from maskrcnn_server.errors import ImageTooLarge
from maskrcnn_server.rle import Size

Floats: TypeAlias = NDArray[np.float32]
Triple: TypeAlias = tuple[float, float, float]
Paste: TypeAlias = Literal["box", "pixels"]
"""Where masks lie: in their boxes, or on whole pixels as torchvision pastes them."""

MAX_UNRESIZED_PIXELS = 4_000_000
"""Maximum pixels of an image that is not resized, since a network's memory grows with its image:
twice the pixels of the default resize."""


@dataclass(frozen=True, kw_only=True)
class Preparation:
    """How images are resized, normalised and padded, and boxes scaled back."""

    short_edge: float | None
    """Short edge of the resized image in pixels. None: images are not resized."""
    long_edge: float = math.inf
    """Maximum long edge of the resized image in pixels."""
    rounding: float = 0.5
    """Number added to a side's length before it is truncated."""
    resampling: Literal["opencv", "pillow", "float"] = "opencv"
    """Kind of bilinear resampling: `opencv` of four pixels and `pillow` of all pixels covered, both
    rounded to integers; `float` of four pixels, not rounded."""
    channels: Literal["RGB", "BGR"] = "RGB"
    mean: Triple
    """Mean subtracted from pixels (0 to 255), in the order of `channels`."""
    std: Triple = (1.0, 1.0, 1.0)
    """Divisor of pixels after the subtraction."""
    multiple_of: int = 1
    """Divisor of padded heights and widths."""
    min_padded: int = 1
    """Minimum padded height and width."""
    one_scale: bool = True
    """Whether boxes are scaled back by the mean of both axes' scales. If not, by each axis' own."""
    on_host: ClassVar[bool] = False
    """Whether only `batch` prepares images so, and no device."""

    @property
    def description(self) -> str:
        """How images are resized, in words."""
        if self.short_edge is None:
            return "none"
        return f"short edge {self.short_edge}, long edge at most {self.long_edge} pixels"

    def resized_size(self, size: Size) -> Size:
        """Height and width of a resized image; no side gets shorter than one pixel.

        Raises ImageTooLarge if images are not resized and this one has too many pixels.
        """
        height, width = size
        if self.short_edge is None:
            check_pixels(size, "this model does not resize images")
            return size
        edge, scale = self.short_edge, self.short_edge / min(height, width)
        edges = (edge, scale * width) if height < width else (scale * height, edge)
        shrink = min(1.0, self.long_edge / max(edges))
        new_height, new_width = (max(1, int(e * shrink + self.rounding)) for e in edges)
        return new_height, new_width

    def padded_size(self, size: Size) -> Size:
        """Height and width, including its padding, of a resized image of this size."""
        height, width = (
            max(math.ceil(n / self.multiple_of) * self.multiple_of, self.min_padded) for n in size
        )
        return height, width

    def resized(self, image: Image, size: Size) -> Image | Floats:
        """`image` at this height and width."""
        if size == image.shape[:2]:
            return image
        if self.resampling == "pillow":
            resized = PIL.Image.fromarray(image).resize(size[::-1], PIL.Image.Resampling.BILINEAR)
            return np.array(resized)
        if self.resampling == "float":
            return bilinear(image.astype(np.float32), size)
        return bilinear(image, size)

    def batch(self, images: Sequence[Image], sizes: Sequence[Size], shape: Size) -> Floats:
        """Images resized to `sizes`, normalised, and then padded with zeros to `shape`.

        float32 (batch, height, width, 3).
        """
        pixels = np.zeros((len(images), *shape, 3), np.float32)
        for target, image, (height, width) in zip(pixels, images, sizes, strict=True):
            seen = self.resized(image, (height, width))
            target[:height, :width] = seen if self.channels == "RGB" else seen[..., ::-1]
            # Row by row: NumPy is five times slower with three numbers for each pixel.
            inside = target.reshape(len(target), -1)[:height, : 3 * width]
            inside -= np.tile(np.array(self.mean, np.float32), width)
            if self.std != (1, 1, 1):
                inside /= np.tile(np.array(self.std, np.float32), width)
        return pixels

    def box_scale(self, size: Size, resized: Size) -> Floats:
        """Divisor (4,) of boxes that takes them from the resized image back to one of `size`."""
        y, x = (new / old for new, old in zip(resized, size, strict=True))
        if self.one_scale:
            x = y = math.sqrt(x * y)
        return np.array([x, y, x, y], np.float32)

    def image_boxes(self, boxes: Floats, size: Size, resized: Size) -> Floats:
        """Boxes (N, 4) in an image of `size`, from those that the network found."""
        return clipped(boxes / self.box_scale(size, resized), size)

    def resized_boxes(self, boxes: Floats, resized: Size) -> Floats:  # noqa: ARG002
        """Boxes (N, 4) in pixels of the resized image, from those that the network found."""
        return boxes

    def network_boxes(self, boxes: Floats, resized: Size) -> Floats:  # noqa: ARG002
        """What `resized_boxes` changes back."""
        return boxes

    def shown(self, boxes: Floats) -> NDArray[np.bool_]:
        """Which of the detections in `image_boxes` (N, 4) are shown, as (N,)."""
        return np.ones(len(boxes), np.bool_)


def check_pixels(size: Size, reason: str) -> None:
    """Raise ImageTooLarge if the network would see an image with too many pixels."""
    height, width = size
    if height * width > MAX_UNRESIZED_PIXELS:
        raise ImageTooLarge(
            f"the image has {width} x {height} pixels; {reason}, and takes at most "
            f"{MAX_UNRESIZED_PIXELS} pixels: send a smaller one",
            max_pixels=MAX_UNRESIZED_PIXELS,
        )


def clipped(boxes: Floats, size: Size) -> Floats:
    """`boxes` (N, 4) clipped to an image."""
    height, width = size
    return np.clip(boxes, 0, np.array([width, height, width, height], np.float32))


def mask_boxes(boxes: Floats, resolution: int, paste: Paste) -> Floats:
    """Boxes (N, 4) that the masks (resolution x resolution) of detections in `boxes` cover.

    They are `boxes` unless masks are pasted like torchvision's `paste_masks_in_image`: there a box
    grows by the zeros around its mask, is truncated to integers, and ends one pixel later.
    """
    if paste == "box":
        return boxes
    zeros = 1 / resolution
    half = (boxes[:, 2:] - boxes[:, :2]) * np.float32(0.5)
    centre = (boxes[:, 2:] + boxes[:, :2]) * np.float32(0.5)
    half *= np.float32(1 + 2 * zeros)
    low, high = np.trunc(centre - half), np.trunc(centre + half) + 1
    margin = (high - low) * (zeros / (1 + 2 * zeros))
    return np.concatenate([low + margin, high - margin], axis=1).astype(np.float32)

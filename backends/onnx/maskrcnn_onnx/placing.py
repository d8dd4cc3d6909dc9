"""From the network's coordinates back to the photograph's."""

import math

import numpy as np
from numpy.typing import NDArray

from maskrcnn_onnx.description import Description
from maskrcnn_server.rle import Size


def box_scale(size: Size, seen: Size, description: Description) -> NDArray[np.float32]:
    """By what boxes (x, y, x, y) in an image of `size`, `seen` resized, are divided: (4,)."""
    y, x = seen[0] / size[0], seen[1] / size[1]
    if description.one_scale:
        x = y = math.sqrt(x * y)
    return np.array([x, y, x, y], np.float32)


def clipped(boxes: NDArray[np.float32], size: Size) -> NDArray[np.float32]:
    """`boxes` (N, 4) inside an image."""
    height, width = size
    return np.clip(boxes, 0, np.array([width, height, width, height], np.float32))


def mask_boxes(
    boxes: NDArray[np.float32], resolution: int, description: Description
) -> NDArray[np.float32]:
    """Where the masks (resolution x resolution) of detections in `boxes` (N, 4) lie.

    There, unless they are pasted as torchvision's `paste_masks_in_image` does it: a box, grown by
    the zeros that are put around its mask, is cut off to integers, and ends one pixel later.
    """
    if description.paste == "box":
        return boxes
    zeros = 1 / resolution
    half = (boxes[:, 2:] - boxes[:, :2]) * np.float32(0.5)
    centre = (boxes[:, 2:] + boxes[:, :2]) * np.float32(0.5)
    half *= np.float32(1 + 2 * zeros)
    low, high = np.trunc(centre - half), np.trunc(centre + half) + 1
    margin = (high - low) * (zeros / (1 + 2 * zeros))
    return np.concatenate([low + margin, high - margin], axis=1).astype(np.float32)

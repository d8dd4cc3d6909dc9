"""Bilinear resizing, identical to the last bit on any device."""

from functools import lru_cache

import torch
from torch import Tensor

WEIGHT_BITS = 11
"""Number of bits of OpenCV's fixed-point weights."""
MAX_CACHED = 256
"""Number of pairs of lengths whose weights are cached on the device, since sending waits for it."""


def resize(image: Tensor, size: tuple[int, int], whole: bool) -> Tensor:
    """`image` (H, W, 3) uint8 at this height and width.

    `whole`: uint8 like OpenCV's INTER_LINEAR. If not, float32, bilinear of four pixels, not
    rounded.
    """
    if size == tuple(image.shape[:2]):
        return image if whole else image.float()
    return _fixed_point(image, *size) if whole else _float(image, *size)


def _fixed_point(image: Tensor, height: int, width: int) -> Tensor:
    """Resize bytes like OpenCV: weights have 11 bits, a row is cut to 15 bits and each product to
    the pixel's 8 and 2 more.

    Source: opencv, modules/imgproc/src/resize.cpp. OpenCV 4.14 and 5.0 agree on x86, with
    instructions from SSE3 to AVX-512.
    """
    across = fixed_weights(image.shape[1], width, image.device, inside=True)
    down = fixed_weights(image.shape[0], height, image.device, inside=False)
    left, right, to_left, to_right = across[:, :, None]
    above, below, to_above, to_below = down[:, :, None, None]
    rows = image.index_select(1, left[:, 0]).int().mul_(to_left)
    rows += image.index_select(1, right[:, 0]).int().mul_(to_right)
    rows >>= 4
    result = rows.index_select(0, above[:, 0, 0]).mul_(to_above).bitwise_right_shift_(16)
    result += rows.index_select(0, below[:, 0, 0]).mul_(to_below).bitwise_right_shift_(16)
    return result.add_(2).bitwise_right_shift_(2).to(torch.uint8)


def _float(image: Tensor, height: int, width: int) -> Tensor:
    """Resize in float32, without rounding."""
    columns, to_columns = float_weights(image.shape[1], width, image.device)
    lines, to_lines = float_weights(image.shape[0], height, image.device)
    left, right = to_columns[:, :, None]
    above, below = to_lines[:, :, None, None]
    rows = image.index_select(1, columns[0]).float().mul_(left)
    rows += image.index_select(1, columns[1]).float().mul_(right)
    result = rows.index_select(0, lines[0]).mul_(above)
    result += rows.index_select(0, lines[1]).mul_(below)
    return result


@lru_cache(MAX_CACHED)
def fixed_weights(length: int, new: int, device: torch.device, *, inside: bool) -> Tensor:
    """The two old places around each new one, and their weights: (4, new) int32.

    `inside`: beyond the border, the border counts once. If not, it counts twice and is rounded
    twice, as in OpenCV from top to bottom.
    """
    at = _places(length, new).float()
    low = at.floor()
    share = at - low
    if inside:
        share[(low < 0) | (low >= length - 1)] = 0
        low = low.clamp(0, length - 1)
    one = 1 << WEIGHT_BITS
    weights = ((part * one).round() for part in (1 - share, share))
    places = (low.clamp(0, length - 1), (low + 1).clamp(0, length - 1))
    return torch.stack([*places, *weights]).int().to(device)


@lru_cache(MAX_CACHED)
def float_weights(length: int, new: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """The two old places around each new one, (2, new) int32, and their weights, (2, new) float32.

    Beyond the border, the border counts once.
    """
    at = _places(length, new).clamp(0, length - 1)
    low = at.floor()
    share = (at - low).float()
    places = torch.stack([low, (low + 1).clamp(max=length - 1)])
    return places.int().to(device), torch.stack([1 - share, share]).to(device)


def _places(length: int, new: int) -> Tensor:
    """Positions of the centres of `new` pixels among `length`, (new,) float64."""
    return (torch.arange(new, dtype=torch.float64) + 0.5) * (length / new) - 0.5

"""COCO's compressed run lengths: columns of a mask as text.

Source: `rleToString` and `rleFrString` of cocoapi (common/maskApi.c). Runs of 0s and 1s alternate,
beginning with 0s. Each but the first three is the difference to the last run of the same value, in
groups of five bits, least significant first, offset by 48; bit 5 says that another group follows.
"""

import itertools

import numpy as np
from numpy.typing import NDArray

MAX_BITS = 40
"""Limit of a run: far more than an image has pixels."""


def decode(text: str, size: tuple[int, int]) -> NDArray[np.bool_]:
    """The mask (height, width) in a text. Raises ValueError if it is not one of this size."""
    height, width = size
    counts = runs(text, size)
    return np.repeat(np.arange(len(counts)) % 2 == 1, counts).reshape(width, height).T


def runs(text: str, size: tuple[int, int]) -> list[int]:
    """The run lengths in a text. Raises ValueError if they are not those of a mask of `size`."""
    counts: list[int] = []
    value = bits = 0
    for byte in text.encode():
        group = byte - 48
        if not 0 <= group < 64 or bits >= MAX_BITS:
            raise ValueError("run lengths: not COCO's text")
        value |= (group & 31) << bits
        bits += 5
        if group & 32:
            continue
        if group & 16:
            value -= 1 << bits
        counts.append(value + counts[-2] if len(counts) > 2 else value)
        value = bits = 0
    if bits or not counts or counts[0] < 0 or min(counts[1:], default=1) < 1:
        raise ValueError("run lengths: not COCO's text")
    if sum(counts) != size[0] * size[1]:
        raise ValueError(f"run lengths: not of a mask of {size[0]} x {size[1]}")
    return counts


def encode(bitmap: NDArray[np.bool_]) -> str:
    """The text for a mask (height, width)."""
    flat = bitmap.T.ravel()
    changes = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    begin = [0, 0] if flat[:1].any() else [0]
    counts = np.diff([*begin, *changes, flat.size]).tolist()
    return "".join(itertools.chain.from_iterable(map(_groups, counts, [0, 0, 0, *counts[1:]])))


def _groups(count: int, earlier: int) -> list[str]:
    rest = count - earlier
    groups: list[str] = []
    while True:
        group = rest & 31
        rest >>= 5
        if rest == (-1 if group & 16 else 0):
            return [*groups, chr(group + 48)]
        groups.append(chr((group | 32) + 48))

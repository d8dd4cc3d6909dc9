"""Run-length encoding of binary masks: rows for the old containers' clients, columns for COCO."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

Order: TypeAlias = Literal["rows", "columns"]
"""Order of the pixels. Pixel (0, 0) is followed by (0, 1) in `rows` (C order), by (1, 0) in
`columns` (COCO's)."""

Size: TypeAlias = tuple[int, int]
"""Height and width in pixels."""

MAX_RUNS = 1 << 17
"""Maximum number of runs written together, unless one mask has more."""
MAX_GROUP = 8
"""Maximum number of characters of a number in COCO's text: 40 bits, far more than a mask has
pixels."""


class Window(NamedTuple):
    """A part of a mask, starting at pixel (y, x)."""

    y: int
    x: int
    bitmap: NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class RLE:
    """A binary mask as alternating run lengths of 0s and 1s, beginning with a run of 0s.

    Only the first run may be of length zero. The runs sum to height * width.
    """

    counts: NDArray[np.int64]
    size: Size
    order: Order

    @property
    def area(self) -> int:
        """The number of pixels that are 1."""
        return int(self.counts[1::2].sum())

    def bitmap(self) -> NDArray[np.bool_]:
        """The mask itself, bool (height, width)."""
        values = np.arange(len(self.counts)) % 2 == 1
        flat = np.repeat(values, self.counts)
        if self.order == "rows":
            return flat.reshape(self.size)
        return flat.reshape(self.size[::-1]).T

    def window(self) -> Window:
        """The smallest part of the mask that contains all its 1s. Empty for an empty mask."""
        length = self.size[1] if self.order == "rows" else self.size[0]
        bounds = np.cumsum(self.counts[: len(self.counts) // 2 * 2]).reshape(-1, 2)
        if not len(bounds):
            return Window(0, 0, np.zeros((0, 0), np.bool_))
        lines, places = np.divmod(bounds - [0, 1], length)
        first, low, high = int(lines[0, 0]), int(places[:, 0].min()), int(places[:, 1].max())
        if (lines[:, 0] != lines[:, 1]).any():  # a run goes on in the next line
            low, high = 0, length - 1
        shape = int(lines[-1, 1]) - first + 1, high - low + 1
        inside = (lines - first) * shape[1] + places - low + [0, 1]
        flat = np.zeros(shape[0] * shape[1] + 1, np.int8)
        flat[inside[:, 0]] += 1
        flat[inside[:, 1]] -= 1
        bitmap = flat[:-1].cumsum(dtype=np.int8).astype(np.bool_).reshape(shape)
        return Window(first, low, bitmap) if self.order == "rows" else Window(low, first, bitmap.T)

    def to(self, order: Order) -> "RLE":
        """The same mask in this order."""
        if order == self.order:
            return self
        y, x, bitmap = self.window()
        lines, offset, length = bitmap, (y, x), self.size[1]
        if order == "columns":
            lines, offset, length = bitmap.T, (x, y), self.size[0]
        return from_edges([edges(lines, offset, length)], self.size, order)

    def intersection(self, other: "RLE") -> int:
        """The number of pixels that are 1 in both. Raises ValueError if size or order differ."""
        if (self.size, self.order) != (other.size, other.order):
            raise ValueError(f"masks of {self.size} {self.order} and {other.size} {other.order}")
        # How many 1s of this mask lie before a position grows by 0 or 1 from pixel to pixel.
        ends = np.cumsum(self.counts)
        ones = self.counts.copy()
        ones[::2] = 0
        before = np.interp(np.cumsum(other.counts), [0, *ends], [0, *np.cumsum(ones)])
        return int(np.diff(before)[::2].sum())

    def compressed(self) -> str:
        """COCO's text for the runs."""
        return compressed([self])[0]


def compressed(masks: Sequence[RLE]) -> list[str]:
    """COCO's text for the runs of each mask.

    Source: `rleToString` of cocoapi (common/maskApi.c): each run but the first three as the
    difference to the last run of the same value, in groups of five bits, least significant
    first, offset by 48; bit 5 says that another group follows.
    """
    if len(masks) > 1 and sum(len(mask.counts) for mask in masks) > MAX_RUNS:
        half = len(masks) // 2
        return compressed(masks[:half]) + compressed(masks[half:])
    counts = np.concatenate([np.zeros(0, np.int64), *(mask.counts for mask in masks)])
    ends = np.cumsum([0, *(len(mask.counts) for mask in masks)])
    deltas = counts.copy()
    deltas[3:] -= counts[1:-2]
    first = (ends[:-1, None] + np.arange(3)).ravel()
    first = first[first < np.repeat(ends[1:], 3)]
    deltas[first] = counts[first]
    # A group of n digits holds the signed range of 5n bits.
    magnitude = np.where(deltas < 0, ~deltas, deltas)
    digits = np.ones(len(deltas), np.int64)
    while (rest := magnitude >> (5 * digits - 1)).any():
        digits += rest > 0
    place = np.arange(digits.max(initial=1))
    characters = (deltas[:, None] >> (5 * place)) & 31
    characters |= np.where(place < digits[:, None] - 1, 32, 0)
    used = place < digits[:, None]
    text = bytes((characters[used] + 48).astype(np.uint8)).decode("ascii")
    bounds = np.concatenate([[0], np.cumsum(digits)])[ends].tolist()
    return [text[start:end] for start, end in pairwise(bounds)]


def from_counts(counts: Sequence[int], size: Size, order: Order) -> RLE:
    """The mask with these run lengths, written by any program; empty runs are removed.

    Raises ValueError if a run is negative, or the runs do not sum to height * width.
    """
    total = size[0] * size[1]
    if min(counts, default=0) < 0 or sum(counts) != total:
        raise ValueError(f"run lengths are 0 or more, and sum to height * width, which is {total}")
    bounds = np.cumsum(np.array(counts, np.int64)[: len(counts) // 2 * 2]).reshape(-1, 2)
    return from_edges([bounds[bounds[:, 0] < bounds[:, 1]]], size, order)


def encode(bitmap: NDArray[np.bool_], order: Order) -> RLE:
    """Encode a mask (height, width) of bools."""
    size = (bitmap.shape[0], bitmap.shape[1])
    lines = bitmap if order == "rows" else bitmap.T
    return from_edges([edges(lines, (0, 0), lines.shape[1])], size, order)


def from_compressed(text: str, size: Size) -> RLE:
    """The mask of `size` in COCO's text: the reverse of `RLE.compressed`.

    Source: `rleFrString` of cocoapi (common/maskApi.c). Raises ValueError for any other text, or a
    mask of another size.
    """
    total = size[0] * size[1]
    characters = np.frombuffer(text.encode("utf-8"), np.uint8).astype(np.int64) - 48
    last = characters & 32 == 0
    if not len(characters) or not last[-1] or ((characters < 0) | (characters > 63)).any():
        raise ValueError("run lengths: not COCO's text")
    ends = np.flatnonzero(last)
    lengths = np.diff(ends, prepend=-1)
    if lengths.max() > MAX_GROUP:
        raise ValueError("run lengths: a number is too long")
    place = np.arange(len(characters)) - np.repeat(ends - lengths + 1, lengths)
    numbers = np.add.reduceat((characters & 31) << (5 * place), ends - lengths + 1)
    # The highest bit of a number is its sign.
    numbers -= np.where(characters[ends] & 16, np.int64(1) << (5 * lengths), 0)
    # Sums of numbers that are no larger than the mask do not overflow.
    if (abs(numbers) <= total).all():
        for start in (1, 2):
            numbers[start::2] = np.cumsum(numbers[start::2])
        if numbers[0] >= 0 and (numbers[1:] > 0).all() and numbers.sum() == total:
            return RLE(numbers, size, "columns")
    raise ValueError(f"run lengths: not of a mask of {size[0]} x {size[1]}")


def edges(lines: NDArray[np.bool_], offset: Size, length: int) -> NDArray[np.int64]:
    """Start and end of each run of 1s, as pairs (runs, 2) of positions in the whole mask.

    `lines` (height, width) is a window of the mask at `offset` (line, column); the lines of the
    mask are `length` long. A run that continues in the next line is returned in two pieces.
    """
    height, width = lines.shape
    # A column of 0s behind each line ends every run inside its line.
    framed = np.zeros((height, width + 1), np.bool_)
    framed[:, :width] = lines
    flat = framed.ravel()
    changes = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    if flat[:1].any():
        changes = np.concatenate([[0], changes])
    line, column = np.divmod(changes, width + 1)
    return ((line + offset[0]) * length + column + offset[1]).reshape(-1, 2)


def from_edges(pieces: list[NDArray[np.int64]], size: Size, order: Order) -> RLE:
    """The mask of `size` whose runs of 1s are `pieces` (see `edges`), in ascending order."""
    borders = np.concatenate([np.zeros((0, 2), np.int64), *pieces]).ravel()
    return from_borders(borders, np.zeros_like(borders), 1, size, order)[0]


def from_borders(
    borders: NDArray[np.int64], masks: NDArray[np.int64], count: int, size: Size, order: Order
) -> list[RLE]:
    """`count` masks of `size`: their runs of 1s start and end at `borders` (2R,) in turn, and are
    of `masks` (2R,). Both ascend, though runs may be empty or touch."""
    total = size[0] * size[1]
    # A gap lies between two masks, lest their runs touch.
    keys = np.maximum.accumulate(borders + masks * (total + 1))
    # Two borders at the same position cancel each other.
    first = np.flatnonzero(np.diff(keys, prepend=-1))
    keys = keys[first[np.diff(first, append=len(keys)) % 2 == 1]]
    masks = keys // (total + 1)
    ends = np.cumsum(np.bincount(masks, minlength=count) + 2) - 1
    starts = np.concatenate([[0], ends[:-1] + 1]).astype(np.int64)[:count]
    bounds = np.empty(len(keys) + 2 * count, np.int64)
    bounds[starts] = np.arange(count) * (total + 1)
    bounds[ends] = bounds[starts] + total
    bounds[np.arange(len(keys)) + 2 * masks + 1] = keys
    runs = np.diff(bounds)
    # No empty run follows a run of 1s that ends the mask.
    ends -= (ends - starts > 1) & (runs[ends - 1] == 0)
    places = zip(starts.tolist(), ends.tolist(), strict=True)
    return [RLE(runs[start:end], size, order) for start, end in places]

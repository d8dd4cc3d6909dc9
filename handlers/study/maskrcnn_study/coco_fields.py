"""Fields of COCO's annotations, as tools write them: flags, boxes and masks."""

import json
import math
from collections.abc import Sequence
from typing import Any, TypeGuard

from maskrcnn_server.rle import RLE, Size, from_compressed, from_counts

MIN_POLYGON = 6
"""Minimum number of coordinates of a polygon: three points."""
MAX_COORDINATE = 1_000_000
"""Maximum distance in pixels from an image's corner. Polygons are drawn pixel by pixel."""
SAME = 2
"""Distance in pixels up to which tools place the sides of one box: they count the last pixel, or
do not."""

APART = 0.1
"""Share of its longer side by which a box may differ from its mask's without a note."""

Entry = dict[str, Any]


class Wrong(Exception):
    """Something in the file that has no meaning."""


def is_number(value: object) -> TypeGuard[float]:
    """Whether a value is a finite number."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def length(value: Any) -> int:
    """A height or width. 0 for what is none."""
    try:
        return max(0, int(value))
    except (TypeError, ValueError, OverflowError):
        return 0


def read_flag(value: Any, where: str) -> int:
    """`iscrowd`: 0 or 1. Raises Wrong."""
    if value in (None, 0, 1, "0", "1", ""):
        return int(value or 0)
    raise Wrong(f"{where}: iscrowd is {shown(value)}, not 0 or 1")


def _number(value: Any, where: str) -> float:
    try:
        number = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if not abs(number) <= MAX_COORDINATE:
        raise Wrong(f"{where}: {shown(value)} is no number of pixels")
    return number


def read_box(value: Any, where: str) -> list[float] | None:
    """x, y, width and height, or None for no box. Raises Wrong."""
    if value is None or value == []:
        return None
    if not isinstance(value, list) or len(value) != 4:
        raise Wrong(f"{where}: bbox is {shown(value)}, not x, y, width, height")
    box = [_number(number, f"{where}: bbox") for number in value]
    if min(box[2:]) < 0:
        raise Wrong(f"{where}: bbox is {shown(value)}: a width or height is negative")
    return box


def nested(value: list[Any]) -> list[Any]:
    """Polygons, also where there is one alone, or one of points."""
    if not any(isinstance(part, list) for part in value):
        return [value]
    pairs = all(isinstance(p, list) and len(p) == 2 and not isinstance(p[0], list) for p in value)
    return [value] if pairs and len(value) > 1 else value


def flattened(polygon: Any, where: str) -> list[float]:
    """A polygon as x, y, x, y, ... Raises Wrong."""
    if not isinstance(polygon, list):
        raise Wrong(f"{where}: segmentation has {shown(polygon)} among its polygons")
    if any(isinstance(point, list) for point in polygon):
        if not all(isinstance(point, list) and len(point) == 2 for point in polygon):
            raise Wrong(f"{where}: segmentation has points that are not x, y")
        polygon = [number for point in polygon for number in point]
    if len(polygon) % 2:
        raise Wrong(f"{where}: a polygon of {len(polygon)} numbers: x, y, x, y, ... are even")
    return [_number(number, f"{where}: segmentation") for number in polygon]


def run_lengths(value: Entry, where: str, size: Size | None) -> Entry | None:
    """Compressed run lengths, or None for an empty mask. Raises Wrong."""
    said, counts = value.get("size"), value.get("counts")
    if not counts:
        return None
    if not isinstance(said, list) or len(said) != 2 or not all(length(n) for n in said):
        raise Wrong(f"{where}: segmentation.size is {shown(said)}, not height, width")
    height, width = length(said[0]), length(said[1])
    if size and (height, width) != size:
        raise Wrong(
            f"{where}: segmentation.size is {said}, and the image's height and width are "
            f"{list(size)}"
        )
    try:
        mask = _decoded(counts, (height, width))
    except (ValueError, TypeError, OverflowError) as error:
        raise Wrong(f"{where}: segmentation.counts: {error}") from None
    if not mask.area:
        return None
    return {"size": [height, width], "counts": mask.compressed()}


def _decoded(counts: Any, size: Size) -> RLE:
    if isinstance(counts, str):
        return from_compressed(counts, size)
    return from_counts([int(count) for count in counts], size, "columns")


def box_of(mask: Any) -> list[float]:
    """x, y, width and height around a mask."""
    if isinstance(mask, dict):
        y, x, window = from_compressed(mask["counts"], (mask["size"][0], mask["size"][1])).window()
        return [float(x), float(y), float(window.shape[1]), float(window.shape[0])]
    xs = [x for polygon in mask for x in polygon[::2]]
    ys = [y for polygon in mask for y in polygon[1::2]]
    return [min(xs), min(ys), max(xs) - min(xs), max(ys) - min(ys)]


def area_of(mask: Any, box: Sequence[float]) -> float:
    """Pixels of the mask, else of the box."""
    if isinstance(mask, dict):
        return float(from_compressed(mask["counts"], (mask["size"][0], mask["size"][1])).area)
    if mask:
        return sum(_shoelace(polygon) for polygon in mask)
    return box[2] * box[3]


def _shoelace(polygon: Sequence[float]) -> float:
    xs, ys = polygon[::2], polygon[1::2]
    sides = zip(xs, ys, [*xs[1:], xs[0]], [*ys[1:], ys[0]], strict=True)
    return abs(sum(x1 * y2 - x2 * y1 for x1, y1, x2, y2 in sides)) / 2


def other_layout(box: Sequence[float], mask: Any) -> str | None:
    """Layout of a box that is around its mask in another layout than x, y, width, height."""
    x, y, width, height = around = box_of(mask)
    layouts = {
        "x1, y1, x2, y2": (x, y, x + width, y + height),
        "the centre, width, height": (x + width / 2, y + height / 2, width, height),
    }
    fitting = (name for name, layout in layouts.items() if _apart(box, layout) <= SAME)
    return next(fitting, None) if _apart(box, around) > SAME else None


def is_apart(box: Sequence[float], mask: Any, size: Size | None) -> bool:
    """Whether a box is clearly not that of its mask, within the image."""
    height, width = size or (MAX_COORDINATE, MAX_COORDINATE)
    sides = [
        (max(x, 0), max(y, 0), min(x + w, width), min(y + h, height))
        for x, y, w, h in (box, box_of(mask))
    ]
    return _apart(*sides) > max(SAME, APART * max(box[2:]))


def _apart(box: Sequence[float], other: Sequence[float]) -> float:
    return max(abs(ours - theirs) for ours, theirs in zip(box, other, strict=True))


def corners(box: Sequence[float]) -> list[float]:
    """The polygon of a box."""
    x, y, width, height = box
    return [x, y, x + width, y, x + width, y + height, x, y + height]


def shown(value: object) -> str:
    """A value in an error."""
    return "missing" if value is None else json.dumps(value, default=str)[:60]

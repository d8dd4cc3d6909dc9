"""COCO's conventions for annotations and results."""

from pathlib import PurePosixPath

import numpy as np
from numpy.typing import NDArray


def bbox(box: NDArray[np.float32]) -> list[float]:
    """x, y, width, height of a box x1, y1, x2, y2; pixels to four decimals."""
    x1, y1, x2, y2 = box.tolist()
    return [round(v, 4) for v in (x1, y1, x2 - x1, y2 - y1)]


def truncated_bbox(box: NDArray[np.float32]) -> list[int]:
    """x, y, width, height truncated to integers, as the containers before this server computed
    them."""
    x1, y1, x2, y2 = box.tolist()
    return [int(x1), int(y1), int(x2 - x1), int(y2 - y1)]


def image_id(name: str | int) -> str | int:
    """COCO's image id: the number in names such as `000000000139.jpg`, else the name itself."""
    stem = PurePosixPath(str(name)).stem
    return int(stem) if stem.isascii() and stem.isdigit() and len(stem) <= 18 else name

"""Images for the checks, equal on every machine."""

import numpy as np

from maskrcnn_server.backend import Image


def sample_image(height: int, width: int, seed: int = 0) -> Image:
    """An image of 8 by 8 blocks of colour."""
    cells = np.random.RandomState(seed).randint(0, 256, (8, 8, 3), np.uint8)
    rows = np.arange(height) * 8 // height
    columns = np.arange(width) * 8 // width
    return np.ascontiguousarray(cells[rows][:, columns])


def smooth_image(height: int, width: int, seed: int = 0) -> Image:
    """An image whose colours change from pixel to pixel: 5 by 5 colours, and between them."""
    corners = np.random.RandomState(seed).randint(0, 256, (5, 5, 3)).astype(np.float64)
    rows = _between(corners, height)
    return np.ascontiguousarray(
        _between(rows.swapaxes(0, 1), width).swapaxes(0, 1).astype(np.uint8)
    )


def _between(values: np.ndarray, length: int) -> np.ndarray:
    """Values along the first axis, interpolated to this length."""
    places = np.linspace(0, len(values) - 1, length)
    lower = np.minimum(places.astype(int), len(values) - 2)
    share = (places - lower)[:, None, None]
    return np.asarray((1 - share) * values[lower] + share * values[lower + 1])

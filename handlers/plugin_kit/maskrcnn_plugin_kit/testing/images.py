"""Images for the checks, equal on every machine."""

import numpy as np

from maskrcnn_server.backend import Image


def sample_image(height: int, width: int, seed: int = 0) -> Image:
    """An image of 8 by 8 blocks of colour."""
    cells = np.random.RandomState(seed).randint(0, 256, (8, 8, 3), np.uint8)
    rows = np.arange(height) * 8 // height
    columns = np.arange(width) * 8 // width
    return np.ascontiguousarray(cells[rows][:, columns])

"""The order of `fastrcnn/fc6/W`'s rows: the one thing that names and shapes do not show.

The layer takes flattened regions. A network in NCHW flattens in the order channel, y, x, one in
NHWC in the order y, x, channel. With rows in the wrong order, a network returns nonsense.
"""

from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

RowOrder: TypeAlias = Literal["channel first", "channel last"]

GRID = 7
"""Height and width of the flattened region."""
UNITS = 64
"""Number of units, spread over the layer, that are examined."""
MIN_CORRELATION = 0.02
"""Minimum correlation of neighbours that shows an order."""
MIN_RATIO = 4
"""Minimum ratio of the correlations in both orders."""

ORIGIN: dict[RowOrder, str] = {
    "channel first": "TensorPack, PyTorch, or AWS Samples' branch tf1.15-with-custom-ops",
    "channel last": "AWS Samples in TensorFlow 2",
}
"""Training code that writes each order."""


def observed(kernel: NDArray[np.float32]) -> RowOrder | None:
    """The row order of a trained kernel (rows, units). None if it does not show.

    Training makes the weights of neighbouring places of a region similar, in each channel. In the
    right order neighbours correlate (0.44 in the demo model), in the other they do not (0.003).
    Untrained weights show neither.
    """
    rows, units = kernel.shape
    sample = kernel[:, :: max(1, units // UNITS)]
    if not np.isfinite(sample).all():
        return None
    first = _correlation(sample.reshape(rows // GRID**2, GRID, GRID, -1), axis=2)
    last = _correlation(sample.reshape(GRID, GRID, rows // GRID**2, -1), axis=1)
    weaker, stronger = sorted((abs(first), abs(last)))
    if stronger < MIN_CORRELATION or stronger < MIN_RATIO * weaker:
        return None
    return "channel first" if abs(first) > abs(last) else "channel last"


def channels_last(kernel: NDArray[np.float32]) -> NDArray[np.float32]:
    """Reorder the rows of a kernel (rows, units) from channel, y, x to y, x, channel."""
    rows, units = kernel.shape
    by_axis = kernel.reshape(rows // GRID**2, GRID, GRID, units)
    return np.ascontiguousarray(by_axis.transpose(1, 2, 0, 3)).reshape(rows, units)


def channels_first(kernel: NDArray[np.float32]) -> NDArray[np.float32]:
    """Reorder the rows of a kernel (rows, units) from y, x, channel to channel, y, x."""
    rows, units = kernel.shape
    by_axis = kernel.reshape(GRID, GRID, rows // GRID**2, units)
    return np.ascontiguousarray(by_axis.transpose(2, 0, 1, 3)).reshape(rows, units)


def _correlation(values: NDArray[np.float32], axis: int) -> float:
    """Pearson correlation of neighbours along `axis`."""
    places = values.shape[axis]
    one = values.take(range(1, places), axis).ravel()
    other = values.take(range(places - 1), axis).ravel()
    spread = float(one.std() * other.std())
    return (
        0.0 if spread == 0 else float(((one - one.mean()) * (other - other.mean())).mean()) / spread
    )

"""The order of `fastrcnn/fc6/W`'s rows: the one thing that names and shapes do not tell.

The layer sees a region's features flattened, which a network in NCHW does in the order channel, y,
x, and one in NHWC in the order y, x, channel. Read in the wrong order, a network answers nonsense.
"""

from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

RowOrder: TypeAlias = Literal["channel first", "channel last"]

GRID = 7
"""Height and width of the flattened region."""
UNITS = 64
"""So many units, spread over the layer, are looked at."""
LEAST_CORRELATION = 0.02
LEAST_RATIO = 4

ORIGIN: dict[RowOrder, str] = {
    "channel first": "TensorPack's, PyTorch's, or of AWS Samples' branch tf1.15-with-custom-ops",
    "channel last": "AWS Samples', trained in TensorFlow 2",
}


def observed(kernel: NDArray[np.float32]) -> RowOrder | None:
    """The order in which the rows of a trained kernel (rows, units) run; None if it does not show.

    Training makes the weights of neighbouring places of a region alike, in each channel. In the
    right order neighbours correlate (0.44 in the demo model), in the other they do not (0.003);
    weights that were never trained show neither.
    """
    rows, units = kernel.shape
    sample = kernel[:, :: max(1, units // UNITS)]
    if not np.isfinite(sample).all():
        return None
    first = _correlation(sample.reshape(rows // GRID**2, GRID, GRID, -1), axis=2)
    last = _correlation(sample.reshape(GRID, GRID, rows // GRID**2, -1), axis=1)
    weaker, stronger = sorted((abs(first), abs(last)))
    if stronger < LEAST_CORRELATION or stronger < LEAST_RATIO * weaker:
        return None
    return "channel first" if abs(first) > abs(last) else "channel last"


def channels_last(kernel: NDArray[np.float32]) -> NDArray[np.float32]:
    """The kernel (rows, units) with rows that run y, x, channel, from one in channel, y, x."""
    rows, units = kernel.shape
    by_axis = kernel.reshape(rows // GRID**2, GRID, GRID, units)
    return np.ascontiguousarray(by_axis.transpose(1, 2, 0, 3)).reshape(rows, units)


def channels_first(kernel: NDArray[np.float32]) -> NDArray[np.float32]:
    """The other way round."""
    rows, units = kernel.shape
    by_axis = kernel.reshape(GRID, GRID, rows // GRID**2, units)
    return np.ascontiguousarray(by_axis.transpose(2, 0, 1, 3)).reshape(rows, units)


def _correlation(values: NDArray[np.float32], axis: int) -> float:
    """Pearson's correlation of neighbours along `axis`."""
    places = values.shape[axis]
    one = values.take(range(1, places), axis).ravel()
    other = values.take(range(places - 1), axis).ravel()
    spread = float(one.std() * other.std())
    return (
        0.0 if spread == 0 else float(((one - one.mean()) * (other - other.mean())).mean()) / spread
    )

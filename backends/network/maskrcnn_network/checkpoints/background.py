"""Changes of box heads that have the background as their last class, and no box of it."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maskrcnn_network.architecture import CASCADE

CORNERS = 4
"""Numbers of a box."""


def _first(class_layer: NDArray[Any]) -> NDArray[Any]:
    return np.roll(class_layer, 1, axis=-1)


def _with_box(box_layer: NDArray[Any]) -> NDArray[Any]:
    """Zeros for the box of the background; a box for all classes as it is."""
    if box_layer.shape[-1] == CORNERS:
        return box_layer
    return np.pad(box_layer, [(0, 0)] * (box_layer.ndim - 1) + [(CORNERS, 0)])


BACKGROUND_FIRST: dict[str, Callable[[NDArray[Any]], NDArray[Any]]] = {
    f"{scope}/outputs/{name}/{leaf}": change
    for scope in ("fastrcnn", *CASCADE)
    for name, change in (("class", _first), ("box", _with_box))
    for leaf in ("W", "b")
}
"""Changes by variable, for `Naming.changes`."""

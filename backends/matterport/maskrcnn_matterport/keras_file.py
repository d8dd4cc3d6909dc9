"""Weights as Keras saves them in HDF5: `save_weights` and `model.save`."""

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maskrcnn_network.checkpoints.refusals import Foreign, unreadable
from maskrcnn_server.errors import InvalidModel
from maskrcnn_server.work import meter

LEAVES: dict[int, tuple[str, ...]] = {
    1: ("kernel",),
    2: ("kernel", "bias"),
    4: ("gamma", "beta", "moving_mean", "moving_variance"),
}
"""Names of a layer's weights in the order of the file, by their number."""
NESTED = {
    "rpn_model": tuple(
        f"{layer}/{leaf}"
        for layer in ("rpn_conv_shared", "rpn_class_raw", "rpn_bbox_pred")
        for leaf in LEAVES[2]
    )
}
"""Names of the weights of a model that is a layer, in the order of the file."""
MAX_LAYERS = 4096
"""Maximum number of layers in a file."""


class KerasFile:
    """Weights by the names of their layers, `conv1/kernel` and so on.

    What the weights of a layer are is shown by their order, as Keras loads them: names after the
    layer's differ from version to version.
    """

    def __init__(self, path: Path) -> None:
        """Raises Foreign for other HDF5 files, InvalidModel for others, and for a file whose data
        are not in it as they are."""
        self.path = path
        counter = meter(path)
        self._places: dict[str, str] = {}
        self.shapes: dict[str, tuple[int, ...]] = {}
        with self._open() as file:
            root = file if _has(file, "layer_names") else file.get("model_weights")
            if root is None or not _has(root, "layer_names"):
                raise Foreign(f"{path}: no weights that Keras saved")
            for layer in itertools.islice(_names(root, "layer_names"), MAX_LAYERS):
                weights = list(itertools.islice(_names(root[layer], "weight_names"), MAX_LAYERS))
                counter.spend(1 + len(weights))
                numbered = tuple(map(str, range(len(weights))))
                leaves = NESTED.get(layer, LEAVES.get(len(weights), numbered))
                for leaf, weight in itertools.zip_longest(leaves, weights):
                    if leaf is None or weight is None:
                        raise InvalidModel(
                            f"{path}: the layer {layer} has {len(weights)} weights instead of "
                            f"{len(leaves)}"
                        )
                    name, place = f"{layer}/{leaf}", f"{root.name}/{layer}/{weight}"
                    self._places[name] = place
                    self.shapes[name] = self._dataset(file, name).shape
            stored = 4 * sum(int(np.prod(shape)) for shape in self.shapes.values())
        # Keras neither compresses nor leaves out.
        if stored > 2 * path.stat().st_size:
            raise InvalidModel(f"{path}: cut off, or compressed: its weights have {stored} bytes")

    def read(self, name: str) -> NDArray[np.float32]:
        """The value of a weight."""
        with self._open() as file:
            return np.asarray(self._dataset(file, name)[()], np.float32)

    def _dataset(self, file: Any, name: str) -> Any:
        """The data set of a weight. Raises InvalidModel unless it is plain floats in this file."""
        import h5py

        node: Any = file
        for part in filter(None, self._places[name].split("/")):
            if not isinstance(node, h5py.Group):
                break
            if not isinstance(node.get(part, getlink=True), h5py.HardLink):
                raise InvalidModel(f"{self.path}: {name} is missing")
            node = node[part]
        plain = isinstance(node, h5py.Dataset) and not (node.external or node.is_virtual)
        if not plain or node.dtype.kind != "f":
            raise InvalidModel(f"{self.path}: {name} is not an array of floats in this file")
        return node

    @contextmanager
    def _open(self) -> Iterator[Any]:
        import h5py

        try:
            with h5py.File(self.path, "r", locking=False) as file:
                yield file
        # h5py raises any of these for damaged files.
        except (OSError, KeyError, RuntimeError, ValueError, TypeError, AttributeError) as error:
            raise unreadable(self.path, f"not an HDF5 file of weights ({error})") from error


def _has(group: Any, attribute: str) -> bool:
    return attribute in group.attrs or f"{attribute}0" in group.attrs


def _names(group: Any, attribute: str) -> Iterator[str]:
    """Names in an attribute, which Keras cuts into numbered ones if it is long."""
    parts = itertools.takewhile(
        group.attrs.__contains__, (f"{attribute}{i}" for i in itertools.count())
    )
    for part in [attribute] if attribute in group.attrs else parts:
        for name in np.ravel(group.attrs[part]):
            yield name.decode("utf-8", "replace") if isinstance(name, bytes) else str(name)

"""Checkpoints of other frameworks with the names and layouts that this library uses."""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from maskrcnn_network.checkpoints.checkpoint import Checkpoint, Npz
from maskrcnn_network.checkpoints.state_dict import StateDict
from maskrcnn_server.errors import InvalidModel
from maskrcnn_server.remembering import read_once

Change: TypeAlias = Callable[[NDArray[Any]], NDArray[Any]]
LEAVES = {"weight": "W", "bias": "b"}
NORM_LEAVES = {
    "weight": "bn/gamma",
    "bias": "bn/beta",
    "running_mean": "bn/mean/EMA",
    "running_var": "bn/variance/EMA",
}


class Foreign(InvalidModel):
    """A checkpoint of another framework."""


@dataclass(frozen=True, kw_only=True)
class Naming:
    """How a framework names the layers of a Mask R-CNN with a feature pyramid."""

    framework: str
    layers: Mapping[str, Callable[[re.Match[str]], str]]
    """Our names of layers, by a pattern of the module's path."""
    norms: Mapping[str, Callable[[re.Match[str]], str]]
    """Our names of the layers that norms follow, by a pattern of the norm's path."""
    ignored: re.Pattern[str]
    """Pattern of tensors that only repeat the configuration."""
    changes: Mapping[str, Change]
    """Changes besides transposing, by our name of the variable."""

    def open(self, path: Path) -> "Renamed":
        """Open a PyTorch file, or an `.npz` with the same names. Raises InvalidModel."""
        opened: Callable[[Path], Checkpoint] = Npz if path.suffix == ".npz" else StateDict
        return Renamed(read_once(opened, path), self)

    def variable(self, tensor: str) -> str | None:
        """Our name of a tensor. None if such networks do not have it."""
        module, _, leaf = tensor.rpartition(".")
        for kind, leaves in ((self.layers, LEAVES), (self.norms, NORM_LEAVES)):
            for pattern, name in kind.items():
                found = re.fullmatch(pattern, module)
                if found is not None and leaf in leaves:
                    return f"{name(found)}/{leaves[leaf]}"
        return None


class Renamed:
    """A checkpoint whose variables have the names that TensorPack would give them."""

    def __init__(self, source: Checkpoint, naming: Naming) -> None:
        """Raises Foreign if it is of another framework, InvalidModel if it has tensors that a Mask
        R-CNN with a feature pyramid does not have."""
        self.path = source.path
        self.source = source
        self._naming = naming
        names = [name for name in source.shapes if naming.ignored.search(name) is None]
        self.tensors = {naming.variable(name) or "": name for name in names}
        unknown = [name for name in names if naming.variable(name) is None]
        if 2 * len(unknown) >= len(names):
            some = ", ".join(names[:3]) or "none"
            raise Foreign(
                f"{self.path}: its tensors do not have {naming.framework}'s names: {some}"
            )
        if unknown:
            raise InvalidModel(
                f"{self.path}: {len(unknown)} of {len(names)} tensors do not belong to a "
                f"{naming.framework} Mask R-CNN with ResNet and FPN, the only kind supported: "
                f"{', '.join(unknown[:6])}{', ...' if len(unknown) > 6 else ''}"
            )

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape of every variable in our layout."""
        return {
            variable: self._changed(variable, np.broadcast_to(np.float32(0), shape)).shape
            for variable, shape in self._by_variable(self.source.shapes)
        }

    def read(self, name: str) -> NDArray[np.float32]:
        """A variable's value in our layout."""
        value = self._changed(name, self.source.read(self.tensors[name]))
        return np.ascontiguousarray(value, np.float32)

    def _by_variable(
        self, shapes: Mapping[str, tuple[int, ...]]
    ) -> Iterator[tuple[str, tuple[int, ...]]]:
        for variable, tensor in self.tensors.items():
            yield variable, shapes[tensor]

    def _changed(self, variable: str, value: NDArray[Any]) -> NDArray[Any]:
        """The value in TensorFlow's layout: (out, in, height, width) becomes (height, width, in,
        out), (in, out, ...) of a transposed convolution (..., out, in), (out, in) (in, out)."""
        if value.ndim == 4:
            value = value.transpose(2, 3, 1, 0)
        elif value.ndim == 2:
            value = value.T
        change = self._naming.changes.get(variable)
        return value if change is None else change(value)


def stored(checkpoint: Checkpoint, names: list[str]) -> dict[str, NDArray[np.float32]]:
    """The values of these variables, with the names and layouts of their file."""
    if isinstance(checkpoint, Renamed):
        tensors = [checkpoint.tensors[name] for name in names]
        return {tensor: checkpoint.source.read(tensor) for tensor in tensors}
    return {name: checkpoint.read(name) for name in names}

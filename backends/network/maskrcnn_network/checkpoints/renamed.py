"""Checkpoints of other frameworks with the names and layouts that this library uses."""

import math
import re
from collections.abc import Callable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from maskrcnn_network.checkpoints.checkpoint import Checkpoint, Npz
from maskrcnn_network.checkpoints.refusals import Foreign
from maskrcnn_network.checkpoints.safetensors import SUFFIX, Safetensors
from maskrcnn_network.checkpoints.state_dict import StateDict
from maskrcnn_server.errors import InvalidModel
from maskrcnn_server.remembering import read_once
from maskrcnn_server.work import Meter, meter

Change: TypeAlias = Callable[[NDArray[Any]], NDArray[Any]]
LEAVES = {"weight": "W", "bias": "b"}
NORM_LEAVES = {
    "weight": "bn/gamma",
    "bias": "bn/beta",
    "running_mean": "bn/mean/EMA",
    "running_var": "bn/variance/EMA",
}
MAX_PREFIX = 8
"""Maximum number of keys and modules around a network, of which its tensors' names begin."""


@dataclass(frozen=True, kw_only=True)
class Naming:
    """How a framework names the layers of a Mask R-CNN."""

    framework: str
    layers: Mapping[str, Callable[[re.Match[str]], str]]
    """Our names of layers, by a pattern of the module's path."""
    norms: Mapping[str, Callable[[re.Match[str]], str]]
    """Our names of the layers that norms follow, by a pattern of the norm's path."""
    ignored: re.Pattern[str]
    """Pattern of tensors that only repeat the configuration."""
    changes: Mapping[str, Change]
    """Changes besides `layout`, by our name of the variable."""
    file: Callable[[Path], Checkpoint] = StateDict
    """Reader of the framework's own files."""
    kind: str = "Mask R-CNN with ResNet and FPN"
    """The networks that have these names, in words."""
    separator: str = "."
    """What separates a module from the names of its tensors."""
    leaves: Mapping[str, str] = field(default_factory=lambda: LEAVES)
    """Our names of a layer's tensors, by the framework's."""
    norm_leaves: Mapping[str, str] = field(default_factory=lambda: NORM_LEAVES)
    layout: Change = field(default_factory=lambda: from_pytorch)
    """Change of every value to TensorFlow's layout."""

    def open(self, path: Path) -> "Renamed":
        """Open one of the framework's files, or a file of another format with the same names.

        Raises InvalidModel.
        """
        formats: dict[str, Callable[[Path], Checkpoint]] = {".npz": Npz, SUFFIX: Safetensors}
        return Renamed(read_once(formats.get(path.suffix, self.file), path), self)

    def variable(self, tensor: str, meter: Meter) -> str | None:
        """Our name of a tensor. None if such networks do not have it."""
        meter.spend(len(self.layers) + len(self.norms))
        module, _, leaf = tensor.rpartition(self.separator)
        for kind, leaves in ((self.layers, self.leaves), (self.norms, self.norm_leaves)):
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
        counter = meter(source.path)
        self._prefix = _prefix(source, naming, counter)
        scalars = {name for name, shape in source.shapes.items() if math.prod(shape) <= 1}
        names = [
            name
            for tensor in source.shapes
            if tensor.startswith(self._prefix)
            and naming.ignored.search(name := tensor.removeprefix(self._prefix)) is None
            # Counters that scripts keep next to the weights, such as n_averaged.
            and not (tensor in scalars and "." not in name)
        ]
        ours = {name: naming.variable(name, counter) for name in names}
        self.tensors = _told_apart({variable or "": name for name, variable in ours.items()})
        unknown = [name for name, variable in ours.items() if variable is None]
        if 2 * len(unknown) >= len(names):
            some = ", ".join(names[:3]) or "none"
            raise Foreign(
                f"{self.path}: its tensors do not have {naming.framework}'s names: {some}"
            )
        if unknown:
            raise InvalidModel(
                f"{self.path}: {len(unknown)} of {len(names)} tensors do not belong to a "
                f"{naming.framework} {naming.kind}, the only kind supported: "
                f"{', '.join(unknown[:6])}{', ...' if len(unknown) > 6 else ''}"
            )

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape of every variable in our layout."""
        stored = self.source.shapes
        return {
            variable: self._changed(variable, np.broadcast_to(np.float32(0), shape)).shape
            for variable, tensor in self.tensors.items()
            for shape in [stored[self._prefix + tensor]]
        }

    def read(self, name: str) -> NDArray[np.float32]:
        """A variable's value in our layout."""
        value = self._changed(name, self.stored(name))
        return np.ascontiguousarray(value, np.float32)

    def stored(self, name: str) -> NDArray[np.float32]:
        """A variable's value in the layout of its file."""
        return self.source.read(self._prefix + self.tensors[name])

    def _changed(self, variable: str, value: NDArray[Any]) -> NDArray[Any]:
        value = self._naming.layout(value)
        change = self._naming.changes.get(variable)
        return value if change is None else change(value)


def _told_apart(tensors: Mapping[str, str]) -> dict[str, str]:
    """The same names by variable, with group norms told from batch norms: they have no statistics
    of training."""

    def kind(variable: str) -> str:
        layer, norm, leaf = variable.rpartition("/bn/")
        has_statistics = any(f"{layer}/bn/{name}/EMA" in tensors for name in ("mean", "variance"))
        return variable if has_statistics or not norm else f"{layer}/gn/{leaf}"

    return {kind(variable): name for variable, name in tensors.items()}


def from_pytorch(value: NDArray[Any]) -> NDArray[Any]:
    """A value in TensorFlow's layout: (out, in, height, width) becomes (height, width, in, out),
    (in, out, ...) of a transposed convolution (..., out, in), (out, in) (in, out)."""
    if value.ndim == 4:
        return value.transpose(2, 3, 1, 0)
    return value.T if value.ndim == 2 else value


def _prefix(source: Checkpoint, naming: Naming, meter: Meter) -> str:
    """The keys and modules around the network, with which its tensors' names begin.

    Raises InvalidModel if there are several networks with different weights.
    """
    tensors: dict[str, set[str]] = {}
    for tensor in source.shapes:
        parts = tensor.split(".")
        for i in range(min(len(parts), MAX_PREFIX)):
            name = ".".join(parts[i:])
            if naming.variable(name, meter) is not None:
                tensors.setdefault(tensor.removesuffix(name), set()).add(name)
                break
    most = max(map(len, tensors.values()), default=0)
    networks = [prefix for prefix, names in tensors.items() if 2 * len(names) > most]
    if any(not _alike(source, networks[0], other, tensors) for other in networks[1:]):
        keys = [prefix.rstrip(".") or "the top level" for prefix in networks]
        raise InvalidModel(
            f"{source.path}: holds {len(networks)} networks, under {', '.join(keys)}: save the "
            "state dict of the one to serve in a file of its own"
        )
    return networks[0] if networks else ""


def _alike(source: Checkpoint, one: str, other: str, names: Mapping[str, AbstractSet[str]]) -> bool:
    return names[one] == names[other] and all(
        np.array_equal(source.read(one + name), source.read(other + name)) for name in names[one]
    )


def stored(checkpoint: Checkpoint, names: list[str]) -> dict[str, NDArray[np.float32]]:
    """The values of these variables, with the names and layouts of their file."""
    if isinstance(checkpoint, Renamed):
        return {checkpoint.tensors[name]: checkpoint.stored(name) for name in names}
    return {name: checkpoint.read(name) for name in names}

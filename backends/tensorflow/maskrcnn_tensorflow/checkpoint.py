"""Checkpoints in a model folder: finding them, and reading variables without TensorFlow."""

import re
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from maskrcnn_server.errors import InvalidModel
from maskrcnn_tensorflow.tensor_bundle import TensorBundle

STEP = re.compile(r"-(\d+)(?=\D|$)")


class Checkpoint(Protocol):
    """A file of variables."""

    path: Path

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The shape of every variable by name."""

    def read(self, name: str) -> NDArray[np.float32]:
        """A variable's value."""


@dataclass(frozen=True)
class Found:
    """A checkpoint in a folder; `step` is the number in its name, if there is one."""

    path: Path
    step: int | None

    @property
    def size(self) -> int:
        """Bytes of all its files."""
        return sum(file.stat().st_size for file in self.path.parent.glob(f"{self.path.stem}.*"))


def find(model_dir: Path) -> list[Found]:
    """The checkpoints right in `model_dir`, newest last: by step number, not by name.

    Of one step's `.index` and `.npz` the `.index` is the newer. Raises InvalidModel if the folder
    does not exist.
    """
    if not model_dir.is_dir():
        raise InvalidModel(f"{model_dir}: no such folder")
    files = [*model_dir.glob("*.npz"), *model_dir.glob("*.index")]
    found = [Found(path, _step(path.stem)) for path in files]
    return sorted(
        found, key=lambda f: (-1 if f.step is None else f.step, f.path.suffix == ".index")
    )


def newest(model_dir: Path) -> Found:
    """The newest checkpoint.

    Raises InvalidModel if there is none, or several that no step number puts in order.
    """
    found = find(model_dir)
    if not found:
        inside = ", ".join(sorted(p.name for p in model_dir.iterdir())[:8]) or "nothing"
        raise InvalidModel(
            f"{model_dir}: no checkpoint; a file such as model-180000.index with its .data-* file, "
            f"or model.npz, is needed; the folder holds {inside}"
        )
    if len(found) > 1 and found[-1].step is None:
        names = ", ".join(sorted(f.path.name for f in found))
        raise InvalidModel(
            f"{model_dir}: several checkpoints and no step number to choose by: {names}; "
            "leave one, or name it like model-180000.npz"
        )
    rivals = [f.path.name for f in found if f.step == found[-1].step]
    if len({name.rpartition(".")[0] for name in rivals}) > 1:
        raise InvalidModel(
            f"{model_dir}: several checkpoints of step {found[-1].step}; leave one of: "
            f"{', '.join(sorted(rivals))}"
        )
    return found[-1]


def open_checkpoint(path: Path) -> Checkpoint:
    """Open an `.index` or `.npz` file. Raises InvalidModel if it is not what its name says."""
    return TensorBundle(path) if path.suffix == ".index" else Npz(path)


class Npz:
    """Variables as numpy saves them (`np.savez`), names with or without `:0`; never unpickles."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._members: dict[str, str] = {}
        self._shapes: dict[str, tuple[int, ...]] = {}
        try:
            with zipfile.ZipFile(path) as archive:
                for member in archive.namelist():
                    name = member.removesuffix(".npy").removesuffix(":0")
                    self._members[name] = member
                    self._shapes[name] = _shape(archive, member)
        except (zipfile.BadZipFile, ValueError, EOFError, OSError) as error:
            raise InvalidModel(f"{path}: not an .npz file of arrays ({error})") from error

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        return self._shapes

    def read(self, name: str) -> NDArray[np.float32]:
        try:
            with (
                zipfile.ZipFile(self.path) as archive,
                archive.open(self._members[name]) as member,
            ):
                array = np.lib.format.read_array(member, allow_pickle=False)
        except (zipfile.BadZipFile, ValueError, EOFError, OSError) as error:
            raise InvalidModel(f"{self.path}: {name} cannot be read ({error})") from error
        if array.dtype.kind != "f":
            raise InvalidModel(f"{self.path}: {name} is {array.dtype}, not floating-point")
        return np.asarray(array, np.float32)


def _shape(archive: zipfile.ZipFile, member: str) -> tuple[int, ...]:
    with archive.open(member) as file:
        version = np.lib.format.read_magic(file)
        if version == (1, 0):
            shape, _, dtype = np.lib.format.read_array_header_1_0(file)
        elif version == (2, 0):
            shape, _, dtype = np.lib.format.read_array_header_2_0(file)
        else:
            raise ValueError(f"{member}: array format {version} is not supported")
    if dtype.hasobject:
        raise ValueError(f"{member}: holds Python objects, which are never unpickled")
    return shape


def _step(stem: str) -> int | None:
    numbers = STEP.findall(stem)
    return int(numbers[-1]) if numbers else None

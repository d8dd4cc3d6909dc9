"""Checkpoints in a model folder: finding them, and reading variables without TensorFlow."""

import re
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from maskrcnn_network.checkpoints.tensor_bundle import TensorBundle
from maskrcnn_server.errors import InvalidModel
from maskrcnn_server.remembering import read_once


class Checkpoint(Protocol):
    """A file of variables."""

    path: Path

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The shape of every variable by name."""

    def read(self, name: str) -> NDArray[np.float32]:
        """A variable's value."""


@dataclass(frozen=True)
class CheckpointFile:
    """A checkpoint in a folder; `step` is the number in its name, None without one."""

    path: Path
    step: int | None

    @property
    def size(self) -> int:
        """Size in bytes of all its files."""
        return sum(file.stat().st_size for file in self.path.parent.glob(f"{self.path.stem}.*"))


@dataclass(frozen=True, kw_only=True)
class Files:
    """How a framework names its checkpoint files."""

    suffixes: tuple[str, ...]
    """Suffixes of files. Among files of one step, the last suffix wins."""
    open: Callable[[Path], Checkpoint]
    """Opener of a file. Raises InvalidModel if the file is not what its name says."""
    examples: str
    """Examples of file names, for messages."""
    step: re.Pattern[str]
    """Pattern of the training step in a name."""
    final: str | None = None
    """Name without suffix of the checkpoint that a finished training writes besides steps."""

    def find(self, model_dir: Path) -> list[CheckpointFile]:
        """The checkpoints directly in `model_dir`, newest last: by step number, not by name.

        Raises InvalidModel if the folder does not exist.
        """
        if not model_dir.is_dir():
            raise InvalidModel(f"{model_dir}: no such folder")
        files = [path for suffix in self.suffixes for path in model_dir.glob(f"*{suffix}")]
        found = [CheckpointFile(path, self._step(path.stem)) for path in files]
        return sorted(
            found, key=lambda f: (f.path.stem == self.final, -1 if f.step is None else f.step)
        )

    def newest(self, model_dir: Path) -> CheckpointFile:
        """The newest checkpoint.

        Raises InvalidModel if there is none, or if several could be the newest.
        """
        found = self.find(model_dir)
        if not found:
            inside = ", ".join(sorted(p.name for p in model_dir.iterdir())[:8]) or "nothing"
            raise InvalidModel(
                f"{model_dir}: no checkpoint, such as {self.examples}; the folder contains {inside}"
            )
        last = found[-1]
        rivals = [f.path.name for f in found if f.step == last.step]
        if last.path.stem == self.final:
            rivals = [name for name in rivals if name.rpartition(".")[0] == self.final]
        if len({name.rpartition(".")[0] for name in rivals}) > 1:
            what = "without a step number" if last.step is None else f"of step {last.step}"
            raise InvalidModel(
                f"{model_dir}: several checkpoints {what}; keep only one of: "
                f"{', '.join(sorted(rivals))}"
            )
        return last

    def _step(self, stem: str) -> int | None:
        numbers = self.step.findall(stem)
        return int(numbers[-1]) if numbers else None


class Npz:
    """Variables as numpy saves them (`np.savez`), names with or without `:0`; never unpickles.

    The file is open as long as this object is in use.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._members: dict[str, str] = {}
        self._shapes: dict[str, tuple[int, ...]] = {}
        try:
            self._archive = zipfile.ZipFile(path)
            for member in self._archive.namelist():
                name = member.removesuffix(".npy").removesuffix(":0")
                self._members[name] = member
                self._shapes[name] = _shape(self._archive, member)
        except (zipfile.BadZipFile, ValueError, EOFError, OSError) as error:
            raise InvalidModel(f"{path}: not an .npz file of arrays ({error})") from error

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        return self._shapes

    def read(self, name: str) -> NDArray[np.float32]:
        try:
            with self._archive.open(self._members[name]) as member:
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
            raise ValueError(f"{member}: unsupported array format {version}")
    if dtype.hasobject:
        raise ValueError(f"{member}: contains Python objects, which are never unpickled")
    return shape


def _open(path: Path) -> Checkpoint:
    opened: Callable[[Path], Checkpoint] = TensorBundle if path.suffix == ".index" else Npz
    return read_once(opened, path)


TENSORFLOW = Files(
    suffixes=(".npz", ".index"),
    open=_open,
    examples="model-180000.index with its .data-* file, or model.npz",
    step=re.compile(r"-(\d+)(?=\D|$)"),
)

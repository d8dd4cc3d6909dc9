"""Checkpoints in a model folder: finding them, and reading variables without TensorFlow."""

import math
import re
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from maskrcnn_network.checkpoints.refusals import Foreign, NoTensors, unreadable
from maskrcnn_network.checkpoints.tensor_bundle import TensorBundle
from maskrcnn_server.errors import InvalidModel
from maskrcnn_server.remembering import read_once
from maskrcnn_server.work import Meter, MeteredFile, meter, open_zip

MAX_NUMBERS = 1 << 28
"""Maximum numbers in one variable. The largest of a Mask R-CNN has 13 million."""
HEADER_STEPS = 150
"""Steps of work that the header of an array takes."""


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
    stem: str
    """Name without suffix."""

    @property
    def size(self) -> int:
        """Size in bytes of all its files."""
        return sum(file.stat().st_size for file in self.path.parent.glob(f"{self.stem}.*"))


@dataclass(frozen=True, kw_only=True)
class Files:
    """How a framework names its checkpoint files."""

    suffixes: tuple[str, ...]
    """Suffixes of files. Among files of one step, the last suffix wins."""
    open: Callable[[Path], Checkpoint]
    """Opener of a file. Raises InvalidModel if the file is not what its name says, Foreign if it is
    and holds no network of the framework."""
    examples: str
    """Examples of file names, for messages."""
    step: re.Pattern[str]
    """Pattern of the training step in a name."""
    final: str | None = None
    """Name without suffix of the checkpoint that a finished training writes besides steps."""

    def find(self, model_dir: Path) -> list[CheckpointFile]:
        """The checkpoints directly in `model_dir`, newest last: by step number, not by name.

        Files whose names begin with a dot are none, nor are folders and pipes. Raises InvalidModel
        if the folder does not exist.
        """
        if not model_dir.is_dir():
            raise InvalidModel(f"{model_dir}: no such folder")
        found = [
            CheckpointFile(path, self._step(stem), stem)
            for suffix in self.suffixes
            for path in model_dir.glob(f"[!.]*{suffix}")
            if path.is_file()
            for stem in [path.name.removesuffix(suffix)]
        ]
        return sorted(found, key=lambda f: (f.stem == self.final, -1 if f.step is None else f.step))

    def newest(self, model_dir: Path) -> tuple[CheckpointFile, list[str]]:
        """The newest checkpoint, and the names of files that were passed over for it.

        A file without the framework's network, such as the weights that its training began with,
        is passed over if another file has one. Raises InvalidModel if there is no file, or if
        several could be the newest.
        """
        found = self.find(model_dir)
        if not found:
            inside = ", ".join(sorted(p.name for p in model_dir.iterdir())[:8]) or "nothing"
            raise InvalidModel(
                f"{model_dir}: no checkpoint, such as {self.examples}; the folder contains {inside}"
            )
        candidates = list(found)
        while True:
            last = candidates[-1]
            rivals = [f for f in candidates if f.step == last.step]
            if last.stem == self.final:
                rivals = [f for f in rivals if f.stem == self.final]
            foreign = [f for f in rivals if self._is_foreign(f)] if len(candidates) > 1 else []
            if not foreign or len(foreign) == len(candidates):
                break
            candidates = [f for f in candidates if f not in foreign]
        if len({f.stem for f in rivals}) > 1:
            what = "without a step number" if last.step is None else f"of step {last.step}"
            raise InvalidModel(
                f"{model_dir}: several checkpoints {what}; keep only one of: "
                f"{', '.join(sorted(f.path.name for f in rivals))}"
            )
        return last, [f.path.name for f in found if f.path != last.path]

    def _is_foreign(self, file: CheckpointFile) -> bool:
        """Whether a file can be read and has no network of the framework."""
        try:
            self.open(file.path)
        except (Foreign, NoTensors):
            return True
        except InvalidModel:
            return False
        return False

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
        counter = meter(path)
        try:
            self._archive = open_zip(path, counter)
            for member in self._archive.namelist():
                name = member.removesuffix(".npy").removesuffix(":0")
                self._members[name] = member
                self._shapes[name] = _shape(self._archive, member, counter)
        except InvalidModel:
            raise
        # A broken archive can make Python's libraries raise anything.
        except Exception as error:
            raise unreadable(path, f"not an .npz file of arrays ({str(error)[:300]})") from error

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        return self._shapes

    def read(self, name: str) -> NDArray[np.float32]:
        if math.prod(self._shapes[name]) > MAX_NUMBERS:
            raise InvalidModel(f"{self.path}: {name} has more than {MAX_NUMBERS} numbers")
        try:
            with self._archive.open(self._members[name]) as member:
                array = np.lib.format.read_array(member, allow_pickle=False)
        except (zipfile.BadZipFile, zlib.error, ValueError, EOFError, OSError) as error:
            raise InvalidModel(f"{self.path}: {name} cannot be read ({error})") from error
        if array.dtype.kind != "f":
            raise InvalidModel(f"{self.path}: {name} is {array.dtype}, not floating-point")
        return np.asarray(array, np.float32)


def _shape(archive: zipfile.ZipFile, member: str, meter: Meter) -> tuple[int, ...]:
    meter.spend(HEADER_STEPS)
    with archive.open(member) as content:
        file = MeteredFile(content, meter)
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
    checkpoint = read_once(opened, path)
    if not any(name.startswith(DETECTOR) for name in checkpoint.shapes):
        some = ", ".join(list(checkpoint.shapes)[:5]) or "none"
        raise Foreign(f"{path}: no variables of a Mask R-CNN; it contains {some}")
    return checkpoint


DETECTOR = ("fpn/", "rpn/", "fastrcnn/", "cascade_rcnn", "maskrcnn/")
"""Beginnings of variables' names that the weights of a backbone alone do not have."""


TENSORFLOW = Files(
    suffixes=(".npz", ".index"),
    open=_open,
    examples="model-180000.index with its .data-* file, or model.npz",
    step=re.compile(r"-(\d+)(?=\D|$)"),
)

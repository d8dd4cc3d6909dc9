"""PyTorch's files, read without PyTorch and without executing their content.

A `.pth` file is a pickle, and a pickle is a program. Here it may only build dictionaries, lists,
numbers, strings and tensors. Anything else it names becomes an inert placeholder. Tensors are read
from their bytes on demand.

Sources: torch/serialization.py (both of its formats) and numpy's `ndarray.__reduce__`.
"""

import zipfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from maskrcnn_network.checkpoints.checkpoint import MAX_NUMBERS
from maskrcnn_network.checkpoints.pickles import (
    BFLOAT16,
    Array,
    Inert,
    Storage,
    Tensor,
    Unpickler,
    width,
)
from maskrcnn_network.checkpoints.refusals import NoTensors, Unreadable, unreadable
from maskrcnn_server.errors import InvalidModel
from maskrcnn_server.work import Meter, meter, open_zip

MAX_PROGRAM = 64 << 20
"""Maximum bytes of a pickle whose tensors have their values elsewhere."""
LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
MAX_DEPTH = 8
"""Maximum number of dictionaries and lists around a tensor or a module."""
MAX_PARTS = 64
"""Maximum number of parts of a tensor's name."""
MAX_NAME = 1024
"""Maximum length of one name in a dictionary or module."""
SEARCHED = 4
"""Steps of work that searching one object for tensors takes."""
WRAPPERS = frozenset({"module", "_orig_mod"})
"""Modules that PyTorch puts around others: `DataParallel`, `AveragedModel`, `compile`."""


class StateDict:
    """The tensors of a PyTorch or Detectron2 checkpoint by name.

    A name begins with the keys under which the training script keeps the state dict, such as
    `model.`, and lacks the names of `WRAPPERS`. A zip file stays open as long as this object is in
    use.
    """

    def __init__(self, path: Path) -> None:
        """Raises InvalidModel if the file is not such a checkpoint."""
        self.path = path
        self._meter = meter(path)
        self._storages: Callable[[Storage], bytes]
        self.meta: Mapping[str, object] = {}
        """What a training script keeps under `meta`: with MMEngine, strings, numbers and lists."""
        try:
            self._tensors = self._parsed()
        except InvalidModel:
            raise
        # A broken pickle can make the unpickler raise anything.
        except Exception as error:
            raise unreadable(
                path, f"not a state dict written by torch.save or Detectron2 ({str(error)[:300]})"
            ) from None

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape of every tensor by name."""
        return {name: tensor.shape for name, tensor in self._tensors.items()}

    def read(self, name: str) -> NDArray[np.float32]:
        """A tensor's value. Raises InvalidModel if it is not floating-point, or missing."""
        tensor = self._tensors[name]
        if isinstance(tensor, np.ndarray):
            values = tensor
        else:
            try:
                values = _view(tensor, self._storages(tensor.storage))
            except (ValueError, KeyError, OSError, zipfile.BadZipFile) as error:
                raise InvalidModel(f"{self.path}: {name} cannot be read ({error})") from error
        if values.dtype.kind != "f":
            raise InvalidModel(f"{self.path}: {name} is {values.dtype}, not floating-point")
        return np.array(values, np.float32, order="C")

    def _parsed(self) -> dict[str, Tensor | NDArray[Any]]:
        try:
            archive = open_zip(self.path, self._meter)
        except zipfile.BadZipFile:
            with self.path.open("rb") as file:
                content = self._piped(file)
        else:
            content = self._zipped(archive)
        if isinstance(content, Mapping) and isinstance(meta := content.get("meta"), Mapping):
            self.meta = meta
        tensors: dict[str, Tensor | NDArray[Any]] = {}
        for path, value in _tensors(content, self._meter):
            name = ".".join(part for part in path if part not in WRAPPERS)
            if name in tensors:
                raise InvalidModel(
                    f"{self.path}: holds {name} twice, inside and outside of "
                    f"{' or '.join(sorted(WRAPPERS))}: save the state dict of one model"
                )
            tensors[name] = value
        if not tensors:
            found = unreadable(
                self.path,
                "contains no tensors; save a state dict, as returned by model.state_dict()",
            )
            raise found if isinstance(found, Unreadable) else NoTensors(found.message)
        return tensors

    def _zipped(self, archive: zipfile.ZipFile) -> object:
        """PyTorch's format since 1.6: a zip file with a pickle, and a member for each storage."""
        packed = [i.filename for i in archive.infolist() if i.compress_type]
        if packed:
            raise unreadable(self.path, f"{packed[0]} is compressed; save it with torch.save")
        names = archive.namelist()
        program = next(name for name in names if name.endswith("data.pkl"))
        root = program.removesuffix("data.pkl")
        if archive.getinfo(program).file_size > MAX_PROGRAM:
            raise InvalidModel(f"{self.path}: {program} is larger than {MAX_PROGRAM} bytes")
        if f"{root}byteorder" in names and archive.read(f"{root}byteorder") != b"little":
            raise InvalidModel(
                f"{self.path}: written on a big-endian machine, which is not supported"
            )
        with archive.open(program) as file:
            content = Unpickler(file, self._meter).load()

        def read(storage: Storage) -> bytes:
            member = archive.getinfo(f"{root}data/{storage.key}")
            if member.file_size != storage.numbers * width(storage):
                raise ValueError(f"its storage has the wrong size: {member.file_size} bytes")
            return archive.read(member)

        self._storages = read
        return content

    def _piped(self, file: BinaryIO) -> object:
        """A single pickle (Detectron2's `.pkl`), or PyTorch's format before 1.6.

        The latter is five pickles (magic number, version, machine, content, order of the
        storages), followed by the storages, each after the count of its numbers.
        """
        first = Unpickler(file, self._meter).load()
        if first != LEGACY_MAGIC:
            return first
        Unpickler(file, self._meter).load()
        if not dict(Unpickler(file, self._meter).load()).get("little_endian", True):
            raise InvalidModel(
                f"{self.path}: written on a big-endian machine, which is not supported"
            )
        unpickler = Unpickler(file, self._meter)
        content = unpickler.load()
        order = Unpickler(file, self._meter).load()
        places: dict[str, int] = {}
        for key in order:
            storage = unpickler.storages[str(key) if isinstance(key, str | int) else ""]
            count = int.from_bytes(file.read(8), "little")
            if count != storage.numbers:
                raise ValueError(f"storage {key} has {count} numbers, not {storage.numbers}")
            places[key] = file.tell()
            file.seek(count * width(storage), 1)

        def read(storage: Storage) -> bytes:
            with self.path.open("rb") as again:
                again.seek(places[storage.key])
                return again.read(storage.numbers * width(storage))

        self._storages = read
        return content


def _view(tensor: Tensor, data: bytes) -> NDArray[Any]:
    """The tensor's numbers. Raises ValueError if they are not all in `data`."""
    dtype = tensor.storage.dtype
    numbers = np.frombuffer(data, np.uint16 if dtype == BFLOAT16 else np.dtype(dtype))
    if dtype == BFLOAT16:
        numbers = (numbers.astype(np.uint32) << 16).view(np.float32)
    shape, strides = tensor.shape, tensor.strides
    if len(shape) != len(strides) or min((tensor.offset, *shape, *strides)) < 0:
        raise ValueError(f"impossible shape {shape} with strides {strides}")
    size = int(np.prod(shape, dtype=object))
    last = tensor.offset + sum((n - 1) * s for n, s in zip(shape, strides, strict=True))
    if size > MAX_NUMBERS or (size and last >= len(numbers)):
        raise ValueError(f"shape {shape} reaches beyond its {len(numbers)} numbers")
    step = numbers.itemsize
    return np.lib.stride_tricks.as_strided(
        numbers[tensor.offset :], shape, [s * step for s in strides], writeable=False
    )


def _tensors(content: object, meter: Meter) -> Iterator[tuple[list[str], Tensor | NDArray[Any]]]:
    """Every tensor in dictionaries, lists and modules, with the parts of its name.

    Raises TooMuchWork for more objects than a checkpoint has, ValueError for longer names.
    """
    waiting: list[tuple[list[str], object, int]] = [([], content, 0)]
    while waiting:
        path, value, depth = waiting.pop()
        if isinstance(value, Array):
            yield path, value.array
        elif isinstance(value, Tensor):
            yield path, value
        elif depth < MAX_DEPTH:
            held = []
            for name, inner, deeper in _held(value):
                meter.spend(SEARCHED + len(path))
                if len(name) > MAX_NAME or len(path) > MAX_PARTS:
                    raise ValueError(f"a name of more than {MAX_NAME} characters")
                held.append(([*path, *name.split(".")], inner, depth + deeper))
            waiting += reversed(held)


def _held(value: object) -> Iterator[tuple[str, object, int]]:
    """What a dictionary, a list or a whole module holds: name, object, and what it adds to depth.

    A module, as `torch.save(model)` writes it, holds what its state dict would.
    """
    if isinstance(value, Mapping):
        yield from ((name, held, 1) for name, held in value.items() if isinstance(name, str))
    elif isinstance(value, list | tuple):
        yield from ((str(i), held, 1) for i, held in enumerate(value) if _holds(held))
    elif isinstance(value, Inert) and isinstance(value.state, Mapping):
        for kind, depth in (("_parameters", 1), ("_buffers", 1), ("_modules", 0)):
            held_by_name = value.state.get(kind)
            if isinstance(held_by_name, Mapping):
                yield from ((str(name), held, depth) for name, held in held_by_name.items())


def _holds(value: object) -> bool:
    return isinstance(value, Mapping | Inert)

"""PyTorch's files, read without PyTorch and without executing their content.

A `.pth` file is a pickle, and a pickle is a program. Here it may only build dictionaries, lists,
numbers, strings and tensors. Anything else it names becomes an inert placeholder. Tensors are read
from their bytes on demand.

Sources: torch/serialization.py (both of its formats) and numpy's `ndarray.__reduce__`.
"""

import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray

from maskrcnn_network.checkpoints.refusals import unreadable
from maskrcnn_server.errors import InvalidModel

MAX_PROGRAM = 64 << 20
"""Maximum bytes of a pickle whose tensors have their values elsewhere."""
MAX_NUMBERS = 1 << 28
"""Maximum numbers in one tensor. The largest tensor of a Mask R-CNN has 13 million."""
LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
BFLOAT16 = "bfloat16"
DTYPES = {
    "DoubleStorage": "f8",
    "FloatStorage": "f4",
    "HalfStorage": "f2",
    "BFloat16Storage": BFLOAT16,
    "LongStorage": "i8",
    "IntStorage": "i4",
    "ShortStorage": "i2",
    "CharStorage": "i1",
    "ByteStorage": "u1",
    "BoolStorage": "?",
}
MAX_DEPTH = 8
"""Maximum number of dictionaries and lists around a tensor or a module."""
MAX_OBJECTS = 100_000
"""Maximum number of objects in a checkpoint that are searched for tensors."""
WRAPPERS = frozenset({"module", "_orig_mod"})
"""Modules that PyTorch puts around others: `DataParallel`, `AveragedModel`, `compile`."""


class Storage(NamedTuple):
    """A run of numbers that tensors are views of."""

    key: str
    dtype: str
    numbers: int


@dataclass(frozen=True)
class Tensor:
    """A view of a storage; offset and strides count numbers."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


@dataclass(eq=False)
class Inert:
    """Placeholder for an object that the pickle names, creates and fills."""

    name: str
    state: Any = None
    """State that the pickle gives the object."""

    def __call__(self, *_: object) -> "Inert":
        return Inert(self.name)

    def __setitem__(self, _key: object, _value: object) -> None:
        pass

    def append(self, _item: object) -> None:
        """Ignore an item, as `list.append` would add it."""


class StateDict:
    """The tensors of a PyTorch or Detectron2 checkpoint by name.

    A name begins with the keys under which the training script keeps the state dict, such as
    `model.`, and lacks the names of `WRAPPERS`. A zip file stays open as long as this object is in
    use.
    """

    def __init__(self, path: Path) -> None:
        """Raises InvalidModel if the file is not such a checkpoint."""
        self.path = path
        self._storages: Callable[[Storage], bytes]
        try:
            self._tensors = self._parsed()
        except InvalidModel:
            raise
        # A broken pickle can make the unpickler raise anything.
        except Exception as error:
            raise unreadable(
                path, f"not a state dict written by torch.save or Detectron2 ({error})"
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
            archive = zipfile.ZipFile(self.path)
        except zipfile.BadZipFile:
            with self.path.open("rb") as file:
                content = self._piped(file)
        else:
            content = self._zipped(archive)
        tensors: dict[str, Tensor | NDArray[Any]] = {}
        for path, value in _tensors(content):
            name = ".".join(part for part in path if part not in WRAPPERS)
            if name in tensors:
                raise InvalidModel(
                    f"{self.path}: holds {name} twice, inside and outside of "
                    f"{' or '.join(sorted(WRAPPERS))}: save the state dict of one model"
                )
            tensors[name] = value
        if not tensors:
            raise unreadable(
                self.path,
                "contains no tensors; save a state dict, as returned by model.state_dict()",
            )
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
            content = _Unpickler(file).load()

        def read(storage: Storage) -> bytes:
            member = archive.getinfo(f"{root}data/{storage.key}")
            if member.file_size != storage.numbers * _width(storage):
                raise ValueError(f"its storage has the wrong size: {member.file_size} bytes")
            return archive.read(member)

        self._storages = read
        return content

    def _piped(self, file: BinaryIO) -> object:
        """A single pickle (Detectron2's `.pkl`), or PyTorch's format before 1.6.

        The latter is five pickles (magic number, version, machine, content, order of the
        storages), followed by the storages, each after the count of its numbers.
        """
        first = _Unpickler(file).load()
        if first != LEGACY_MAGIC:
            return first
        _Unpickler(file).load()
        if not dict(_Unpickler(file).load()).get("little_endian", True):
            raise InvalidModel(
                f"{self.path}: written on a big-endian machine, which is not supported"
            )
        unpickler = _Unpickler(file)
        content = unpickler.load()
        order = _Unpickler(file).load()
        places: dict[str, int] = {}
        for key in order:
            storage = unpickler.storages[key]
            count = int.from_bytes(file.read(8), "little")
            if count != storage.numbers:
                raise ValueError(f"storage {key} has {count} numbers, not {storage.numbers}")
            places[key] = file.tell()
            file.seek(count * _width(storage), 1)

        def read(storage: Storage) -> bytes:
            with self.path.open("rb") as again:
                again.seek(places[storage.key])
                return again.read(storage.numbers * _width(storage))

        self._storages = read
        return content


class _Array:
    """A numpy array being unpickled: `_reconstruct`, then its state."""

    def __init__(self, *_: object) -> None:
        self.array: NDArray[Any] = np.zeros(0)

    def fill(self, state: tuple[Any, ...]) -> None:
        """Take the state that arrays are pickled with."""
        _, shape, dtype, is_fortran, data = state
        if not isinstance(dtype, _DType) or not isinstance(data, bytes | bytearray):
            raise ValueError("an array of Python objects")
        array = np.frombuffer(data, dtype.dtype)
        self.array = array.reshape(shape, order="F" if is_fortran else "C")


def _from_buffer(data: Any, dtype: Any, shape: Any, order: Any) -> _Array:
    """An array as protocol 5 pickles it."""
    array = _Array()
    array.fill((1, shape, dtype, order == "F", data))
    return array


class _DType:
    """A numpy type being unpickled. Only the byte order of its state matters."""

    def __init__(self, code: str, *_: object) -> None:
        self.dtype = np.dtype(code if code[0] in "fiub" and code[1:].isdigit() else "V")

    def fill(self, state: tuple[Any, ...]) -> None:
        """Take the state that types are pickled with."""
        if state[1] in ("<", ">"):
            self.dtype = self.dtype.newbyteorder(state[1])


class _Unpickler(pickle._Unpickler):
    """Python's unpickler in pure Python, whose memory a hostile file cannot exhaust.

    It imports nothing that a pickle names, and calls only what this module defines.
    """

    stack: list[Any]

    def __init__(self, file: BinaryIO | Any) -> None:
        super().__init__(file, encoding="latin1")
        self.storages: dict[str, Storage] = {}

    def find_class(self, module: str, name: str) -> Any:
        known = KNOWN.get((module.partition(".")[0], name))
        return Inert(f"{module}.{name}") if known is None else known

    def load_build(self) -> None:
        """Set the state of the object below without calling its own methods."""
        state = self.stack.pop()
        made = self.stack[-1]
        if isinstance(made, _Array | _DType):
            made.fill(state)
        elif isinstance(made, Inert):
            made.state = state

    def load_newobj(self) -> None:
        """Create an inert object of an inert class."""
        self.stack.pop()
        self.stack[-1] = Inert(str(getattr(self.stack[-1], "name", "object")))

    def load_newobj_ex(self) -> None:
        """Create an inert object with keyword arguments."""
        self.stack.pop()
        self.load_newobj()

    dispatch: ClassVar[dict[int, Callable[[Any], None]]] = {
        **pickle._Unpickler.dispatch,
        pickle.BUILD[0]: load_build,
        pickle.NEWOBJ[0]: load_newobj,
        pickle.NEWOBJ_EX[0]: load_newobj_ex,
    }

    def persistent_load(self, pid: Any) -> Any:
        """A storage, or, in PyTorch's older format, a class with its source."""
        if pid[0] == "module":
            return pid[1]
        kind, dtype, key, _, count, *view = pid
        if kind != "storage" or not isinstance(dtype, str) or any(view):
            raise ValueError(f"unknown kind of storage: {pid!r}")
        storage = Storage(str(key), dtype, int(count))
        self.storages[storage.key] = storage
        return storage


def _tensor(storage: Any, offset: Any, shape: Any, strides: Any, *_: object) -> Tensor:
    if not isinstance(storage, Storage):
        raise ValueError(f"a tensor without a storage: {storage!r}")
    return Tensor(storage, int(offset), tuple(map(int, shape)), tuple(map(int, strides)))


def _latin1(text: str, _encoding: str) -> bytes:
    """How Python 3 writes bytes into pickles for Python 2."""
    return text.encode("latin1")


def _parameter(tensor: Any, *_: object) -> Any:
    return tensor


KNOWN: dict[tuple[str, str], Any] = {
    ("collections", "OrderedDict"): OrderedDict,
    ("torch", "_rebuild_tensor"): _tensor,
    ("torch", "_rebuild_tensor_v2"): _tensor,
    ("torch", "_rebuild_parameter"): _parameter,
    ("numpy", "_reconstruct"): _Array,
    ("numpy", "_frombuffer"): _from_buffer,
    ("numpy", "ndarray"): _Array,
    ("numpy", "dtype"): _DType,
    ("_codecs", "encode"): _latin1,
} | {("torch", storage): dtype for storage, dtype in DTYPES.items()}
"""Everything that a pickle may use, by package and name."""


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
    width = numbers.itemsize
    return np.lib.stride_tricks.as_strided(
        numbers[tensor.offset :], shape, [s * width for s in strides], writeable=False
    )


def _width(storage: Storage) -> int:
    return 2 if storage.dtype == BFLOAT16 else np.dtype(storage.dtype).itemsize


def _tensors(content: object) -> Iterator[tuple[list[str], Tensor | NDArray[Any]]]:
    """Every tensor in dictionaries, lists and modules, with the parts of its name.

    Raises ValueError for more objects than a checkpoint has.
    """
    waiting: list[tuple[list[str], object, int]] = [([], content, 0)]
    for _ in range(MAX_OBJECTS):
        if not waiting:
            return
        path, value, depth = waiting.pop()
        if isinstance(value, _Array):
            yield path, value.array
        elif isinstance(value, Tensor):
            yield path, value
        elif depth < MAX_DEPTH:
            waiting += reversed(
                [([*path, *n.split(".")], v, depth + d) for n, v, d in _held(value)]
            )
    raise ValueError(f"more than {MAX_OBJECTS} objects")


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

"""Unpickling PyTorch's and NumPy's objects without executing what a pickle says.

Sources: CPython's pickle.py, torch/_utils.py, and numpy's `ndarray.__reduce__`.
"""

import pickle
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, BinaryIO, ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray

from maskrcnn_server.work import STEP_BYTES, Meter, MeteredFile

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
MAX_AXES = 8
"""Maximum number of axes of a tensor."""


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


class Array:
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


def _from_buffer(data: Any, dtype: Any, shape: Any, order: Any) -> Array:
    """An array as protocol 5 pickles it."""
    array = Array()
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


class _Tuple(list[Any]):
    """A tuple in a pickle, which may contain the same one so often that hashing it takes years."""

    __hash__ = object.__hash__  # type: ignore[assignment]


class Unpickler(pickle._Unpickler):
    """Python's unpickler in pure Python, whose memory a hostile file cannot exhaust.

    It imports nothing that a pickle names, and calls only what this module defines.
    """

    stack: list[Any]
    append: Callable[[Any], None]
    read: Callable[[int], bytes]
    pop_mark: Callable[[], list[Any]]

    def __init__(self, file: BinaryIO | Any, meter: Meter) -> None:
        super().__init__(MeteredFile(file, meter), encoding="latin1")
        self.storages: dict[str, Storage] = {}
        self._meter = meter

    def find_class(self, module: str, name: str) -> Any:
        known = KNOWN.get((module.partition(".")[0], name))
        return Inert(f"{module}.{name}") if known is None else known

    def load_frame(self) -> None:
        """Skip the length of a frame: each read is counted by itself."""
        self.read(8)

    def load_tuple(self) -> None:
        """Make a tuple whose hash does not depend on what is in it."""
        made = _Tuple(self.pop_mark())
        self.append(made)

    def load_tuple1(self) -> None:
        """The same of the topmost object."""
        self.stack[-1:] = [_Tuple(self.stack[-1:])]

    def load_tuple2(self) -> None:
        """The same of the two topmost objects."""
        self.stack[-2:] = [_Tuple(self.stack[-2:])]

    def load_tuple3(self) -> None:
        """The same of the three topmost objects."""
        self.stack[-3:] = [_Tuple(self.stack[-3:])]

    def load_bytearray8(self) -> None:
        """Read a bytearray, and no more than there is."""
        self.append(bytearray(self.read(int.from_bytes(self.read(8), "little"))))

    def load_reduce(self) -> None:
        """Call one of the functions of this module, or an inert object."""
        arguments = self.stack.pop()
        self._count(arguments)
        self.stack[-1] = self.stack[-1](*arguments)

    def _instantiate(self, made: Any, arguments: list[Any]) -> None:
        """The same, for opcodes of old protocols."""
        self._count(arguments)
        self.append(made(*arguments))

    def _count(self, arguments: Any) -> None:
        """Count what a call does with its arguments, which may be the same in many calls."""
        for argument in (arguments, *arguments):
            if isinstance(argument, str | bytes | bytearray):
                self._meter.spend(len(argument) // STEP_BYTES)
            elif isinstance(argument, list | dict):
                self._meter.spend(len(argument))

    def load_build(self) -> None:
        """Set the state of the object below without calling its own methods."""
        state = self.stack.pop()
        self._count(state if isinstance(state, list) else ())
        made = self.stack[-1]
        if isinstance(made, Array | _DType):
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
        pickle.FRAME[0]: load_frame,
        pickle.TUPLE[0]: load_tuple,
        pickle.TUPLE1[0]: load_tuple1,
        pickle.TUPLE2[0]: load_tuple2,
        pickle.TUPLE3[0]: load_tuple3,
        pickle.BYTEARRAY8[0]: load_bytearray8,
        pickle.REDUCE[0]: load_reduce,
    }

    def persistent_load(self, pid: Any) -> Any:
        """A storage, or, in PyTorch's older format, a class with its source."""
        if pid[0] == "module":
            return pid[1]
        kind, dtype, key, _, count, *view = pid
        if kind != "storage" or dtype not in DTYPES.values() or any(view):
            raise ValueError("unknown kind of storage")
        if not isinstance(key, str | int):
            raise ValueError(f"the key of a storage is a {type(key).__name__}")
        storage = Storage(str(key), dtype, int(count))
        self.storages[storage.key] = storage
        return storage


def _tensor(storage: Any, offset: Any, shape: Any, strides: Any, *_: object) -> Tensor:
    if not isinstance(storage, Storage):
        raise ValueError(f"a tensor with a {type(storage).__name__} for its storage")
    numbers = (offset, *shape, *strides)
    if len(shape) > MAX_AXES or any(not isinstance(n, int) or abs(n) >> 62 for n in numbers):
        raise ValueError(f"a tensor of an impossible shape, of {len(shape)} axes")
    return Tensor(storage, offset, tuple(shape), tuple(strides))


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
    ("numpy", "_reconstruct"): Array,
    ("numpy", "_frombuffer"): _from_buffer,
    ("numpy", "ndarray"): Array,
    ("numpy", "dtype"): _DType,
    ("_codecs", "encode"): _latin1,
} | {("torch", storage): dtype for storage, dtype in DTYPES.items()}
"""Everything that a pickle may use, by package and name."""


def width(storage: Storage) -> int:
    """Bytes of each number of a storage."""
    return 2 if storage.dtype == BFLOAT16 else np.dtype(storage.dtype).itemsize

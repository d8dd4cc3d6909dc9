"""Graphs that other programs saved, read without TensorFlow and checked before any of it runs.

Sources: TensorFlow's `saved_model.proto`, `meta_graph.proto`, `saver.proto`, `graph.proto`,
`node_def.proto`, `function.proto`, `attr_value.proto` and `tensor.proto`, whose field numbers these
are.
"""

import math
import mmap
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, TypeVar

from maskrcnn_network.checkpoints.protobuf import Data, Message
from maskrcnn_server.errors import InvalidModel
from maskrcnn_server.work import Meter, TooMuchWork, meter
from maskrcnn_tensorflow.graph_operators import CALLING, COMPUTING, RESTORING

SAVED_MODEL = "saved_model.pb"
SIGNATURE, TAG = "serving_default", "serve"
"""Names of the signature and the graph that are served."""
MAX_BYTES = 1 << 30
"""Maximum size of a file. That of a frozen Inception-ResNet has 260 MB."""
MAX_ELEMENTS = 1 << 28
"""Maximum number of elements of all constants; a frozen Inception-ResNet has 64 million."""
DTYPES = {1: "float32", 3: "int32", 4: "uint8", 7: "string", 9: "int64"}
"""Some of TensorFlow's types."""
MAX_NODES, MAX_LEVELS = 1_000_000, 50
"""Maximum number of nodes that a function has with all that it calls, and of levels of calls."""

T = TypeVar("T")


class Tensor(NamedTuple):
    """An input or output."""

    name: str
    """Node and number of its output: `image_tensor:0`."""
    dtype: str = "unknown"
    dims: tuple[int, ...] | None = None
    """Lengths, -1 for any. None: any rank."""


class Node(NamedTuple):
    """A call of an operator or function."""

    op: str
    inputs: tuple[str, ...]
    message: Message

    def attributes(self) -> Mapping[str, Message]:
        """Values by name."""
        found = {}
        for entry in self.message.messages(5):
            for value in entry.messages(2):
                found[entry.text(1)] = value
        return found


@contextmanager
def _valid() -> Iterator[None]:
    """Raises InvalidModel for the errors of a damaged file."""
    try:
        yield
    except (ValueError, LookupError, RuntimeError, StopIteration) as error:
        raise InvalidModel(f"not a valid graph of TensorFlow ({error})") from None


@dataclass(frozen=True)
class Used:
    """The part of a graph that some outputs need."""

    nodes: set[str] = field(default_factory=set)
    functions: dict[str, list[str]] = field(default_factory=dict)
    """Texts of the nodes of each function: the function that a node calls, or none."""

    def check_nesting(self) -> None:
        """Raises InvalidModel if functions call each other without end, or too often."""
        extents: dict[str, tuple[int, int]] = {"": (1, 0)}

        def extent(name: str, above: int) -> tuple[int, int]:
            """Number of nodes with those of all calls, and levels of calls."""
            if name not in extents and above < MAX_LEVELS:
                inner = [extent(called, above + 1) for called in self.functions[name]]
                levels = 1 + max((levels for _, levels in inner), default=0)
                extents[name] = 1 + sum(size for size, _ in inner), levels
            size, levels = extents.get(name, (0, MAX_LEVELS))
            if size > MAX_NODES or levels >= MAX_LEVELS:
                raise InvalidModel(
                    f"its functions call each other over {MAX_LEVELS} levels, or are too large "
                    f"together ({MAX_NODES} nodes)"
                )
            return size, levels

        for function in self.functions:
            extent(function, 0)


class Graph:
    """What a file holds: `inputs` and `outputs` by name, nodes and functions.

    Raises InvalidModel if it is damaged, or too much work to read.
    """

    @_valid()
    def __init__(self, data: Data, meter: Meter, *, saved_model: bool) -> None:
        graph = meta = whole = Message(data, 0, len(data), meter)
        if saved_model:
            meta = _served(whole)
            graph = next(meta.messages(2))
        self.nodes = _unique(_nodes(graph, 1))
        bodies = (body for library in graph.messages(2) for body in library.messages(1))
        declared = ((next(body.messages(1)), body) for body in bodies)
        self.functions = _unique((f.text(1), (f, body)) for f, body in declared)
        self.version = ""
        self.inputs: dict[str, Tensor] = {}
        self.outputs: dict[str, Tensor] = {}
        self.restoring: tuple[str, str] | None = None
        """Tensor of the checkpoint's path, and the node that reads the variables from it."""
        if not saved_model:
            self.inputs = {n: _placeholder(n, x) for n, x in self.nodes.items() if _is_input(x)}
            self.outputs = {name: Tensor(f"{name}:0") for name in self.nodes}
            return
        self.version = next((info.text(5) for info in meta.messages(1)), "")
        for entry in meta.messages(5):
            if entry.text(1) == SIGNATURE:
                for signature in entry.messages(2):
                    self.inputs = dict(_ends(signature, 1))
                    self.outputs = dict(_ends(signature, 2))
        for saver in meta.messages(3):
            if any(node.op in ("VarHandleOp", "VariableV2") for node in self.nodes.values()):
                self.restoring = saver.text(1), saver.text(3)

    @_valid()
    def used(self, tensors: Iterable[str]) -> Used:
        """What `tensors` need. Raises InvalidModel, by their names, if operators among it may do
        more than compute, or constants are too large."""
        used, elements = Used(), 0
        for node in self._walk(tensors, used):
            self._check(node, COMPUTING)
            if node.op == "Const":
                elements += sum(map(_elements, node.attributes()["value"].messages(8)))
                if elements > MAX_ELEMENTS:
                    raise InvalidModel(f"its constants have more than {MAX_ELEMENTS} elements")
        used.check_nesting()
        return used

    @_valid()
    def used_to_restore(self) -> Used:
        """What reads the variables, from no other file than the one that it is given. Raises
        InvalidModel as `used` does."""
        used = Used()
        if self.restoring is None:
            return used
        given, target = self.restoring
        for node in self._walk([target], used):
            self._check(node, RESTORING)
        used.check_nesting()
        nodes = [self.nodes[name] for name in used.nodes]
        if not all(self._reads(node, {_node(given)}) for node in nodes) or not all(
            self._reads_argument(name) for name in used.functions
        ):
            raise InvalidModel("its variables are to be read from another file")
        return used

    def _reads(self, node: Node, paths: set[str]) -> bool:
        """Whether a node reads files of these paths only, and gives nothing else to a function."""
        if self._is_call(node):
            return {self.nodes[_node(i)].op for i in node.inputs} <= {"Placeholder", "VarHandleOp"}
        return node.op != "RestoreV2" or node.inputs[0] in paths

    def _reads_argument(self, function: str) -> bool:
        """Whether a function reads files of paths that it is given only, and calls no other."""
        given = {argument.text(1) for argument in self.functions[function][0].messages(2)}
        body = [node for _, node in self._body(function)]
        return all(not self._is_call(node) and self._reads(node, given) for node in body)

    def _walk(self, tensors: Iterable[str], used: Used) -> Iterator[Node]:
        """The nodes that `tensors` need, and those of the functions that these call."""
        waiting = [_node(name) for name in tensors]
        functions: list[str] = []
        while waiting or functions:
            if waiting:
                name = waiting.pop()
                if name in used.nodes:
                    continue
                used.nodes.add(name)
                if name not in self.nodes:
                    raise InvalidModel(f"there is no node {name[:100]}")
                called = [self.nodes[name]]
                waiting += map(_node, called[0].inputs)
                calls = [name for node in called for name in self._called(node)]
            else:
                function = functions.pop()
                called = [node for _, node in self._body(function)]
                calls = used.functions[function]
                for node in called:
                    calls += [*self._called(node)] or [""]
            new = {*calls} - {*used.functions, ""}
            used.functions.update((function, []) for function in new)
            functions += new
            yield from called

    def _called(self, node: Node) -> Iterator[str]:
        if node.op in self.functions:
            yield node.op
        for name in _functions(node) if node.op in CALLING else ():
            if name not in self.functions:
                raise InvalidModel(f"there is no function {name[:100]}")
            yield name

    def _is_call(self, node: Node) -> bool:
        return node.op in CALLING or node.op in self.functions

    def _body(self, function: str) -> Iterator[tuple[str, Node]]:
        return _nodes(self.functions[function][1], 3)

    def _check(self, node: Node, allowed: frozenset[str]) -> None:
        if node.op not in allowed and node.op not in self.functions:
            raise InvalidModel(
                f"has the operator {node.op[:100]}, which is not among those of detection "
                "networks: it might read files or run code"
            )


def read(path: Path) -> Graph:
    """The graph in a `saved_model.pb` or a frozen one. Raises InvalidModel if it is invalid."""
    check_size(path)
    try:
        with path.open("rb") as file:
            # Nodes are read later, too; the map is closed with the last of them.
            data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        return Graph(data, meter(path), saved_model=path.name == SAVED_MODEL)
    except TooMuchWork:
        raise
    except (ValueError, InvalidModel) as error:
        raise InvalidModel(f"{path}: {error}") from None


def check_size(path: Path) -> None:
    """Raises InvalidModel if the file is larger than any model's."""
    if (size := path.stat().st_size) > MAX_BYTES:
        raise InvalidModel(f"{path}: has {size} bytes; at most {MAX_BYTES} are read")


def _served(whole: Message) -> Message:
    for meta in whole.messages(2):
        if any(str(tag) == TAG for info in meta.messages(1) for tag in info.messages(4)):
            return meta
    raise ValueError(f"it has no graph with the tag {TAG}")


def _unique(pairs: Iterable[tuple[str, T]]) -> dict[str, T]:
    found: dict[str, T] = {}
    for name, value in pairs:
        if name in found:
            raise ValueError(f"it has two of the name {name[:100]}")
        found[name] = value
    return found


def _nodes(graph: Message, at: int) -> Iterator[tuple[str, Node]]:
    for message in graph.messages(at):
        name = op = ""
        inputs = []
        for number, value in message:
            if number > 3:
                break
            if number == 3:
                inputs.append(str(value))
            elif number == 2:
                op = str(value)
            elif number == 1:
                name = str(value)
        yield name, Node(op, tuple(inputs), message)


def _functions(node: Node) -> Iterator[str]:
    """The functions that a node's attributes name."""
    for entry in node.message.messages(5):
        for number, value in entry:
            if number == 2 and isinstance(value, Message):
                for kind, part in value:
                    if kind == 10 and isinstance(part, Message):
                        yield part.text(1)
                    elif kind == 1 and isinstance(part, Message):
                        yield from (function.text(1) for function in part.messages(9))


def _ends(signature: Message, at: int) -> Iterator[tuple[str, Tensor]]:
    for entry in signature.messages(at):
        for info in entry.messages(2):
            dtype = DTYPES.get(info.number(2), f"type {info.number(2)}")
            shape = next(info.messages(3), None)
            yield entry.text(1), Tensor(info.text(1), dtype, _dims(shape))


def _is_input(node: Node) -> bool:
    return node.op == "Placeholder"


def _placeholder(name: str, node: Node) -> Tensor:
    attributes = node.attributes()
    number = attributes["dtype"].number(6) if "dtype" in attributes else 0
    shape = next(attributes["shape"].messages(7), None) if "shape" in attributes else None
    return Tensor(f"{name}:0", DTYPES.get(number, f"type {number}"), _dims(shape))


def _dims(shape: Message | None) -> tuple[int, ...] | None:
    """Lengths; a negative one has its two's complement in 64 bits."""
    if shape is None or shape.number(3):
        return None
    lengths = (dim.number(1) for dim in shape.messages(2))
    return tuple(-1 if length >> 63 else length for length in lengths)


def _elements(tensor: Message) -> int:
    return sum(math.prod(_dims(shape) or (0,)) for shape in tensor.messages(2))


def _node(tensor: str) -> str:
    """The node of a tensor or control input."""
    return tensor.removeprefix("^").partition(":")[0]

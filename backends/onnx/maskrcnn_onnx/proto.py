"""The header of an ONNX file, read without a runtime and without its weights.

Source: onnx/onnx.proto, whose field numbers these are.
"""

import mmap
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from maskrcnn_network.checkpoints.protobuf import Message
from maskrcnn_server.errors import InvalidModel
from maskrcnn_server.work import meter

MAX_DEPTH = 16
"""Maximum depth of nested graphs."""
DTYPES = {1: "float32", 2: "uint8", 3: "int8", 6: "int32", 7: "int64", 9: "bool", 10: "float16"}
"""Some of ONNX's types, by NumPy's names."""
EXTERNAL = 1

Dims: TypeAlias = tuple[int | str, ...]
"""Length or name of each axis; an empty text without either."""


@dataclass(frozen=True)
class Tensor:
    """An input or output."""

    name: str
    dtype: str
    dims: Dims | None
    """Axes. None: any rank."""


@dataclass(frozen=True)
class Header:
    """Inputs, outputs and metadata of a model."""

    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    metadata: Mapping[str, str]
    producer: str


def read(path: Path) -> Header:
    """The header of an ONNX file.

    Raises InvalidModel if the file is invalid, or if its weights are in other files, whose paths
    may lead anywhere.
    """
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            return _header(data, path)
    except (ValueError, IndexError) as error:
        raise InvalidModel(f"{path}: not a valid ONNX model ({error})") from None


def _header(data: mmap.mmap, path: Path) -> Header:
    model = Message(data, 0, len(data), meter(path))
    graphs = list(model.messages(7))
    if not graphs or not model.number(1):
        raise ValueError("it contains no graph")
    nodes = [node for function in model.messages(25) for node in function.messages(7)]
    for graph in graphs:
        _refuse_other_files(graph, path, 0)
    for node in nodes:
        _refuse_in_node(node, path, 0)
    weights = {t.text(8) for graph in graphs for t in graph.messages(5)}
    inputs = [_tensor(v) for graph in graphs for v in graph.messages(11)]
    return Header(
        # Old files list their weights among the inputs.
        inputs=tuple(tensor for tensor in inputs if tensor.name not in weights),
        outputs=tuple(_tensor(v) for graph in graphs for v in graph.messages(12)),
        metadata={entry.text(1): entry.text(2) for entry in model.messages(14)},
        producer=model.text(2),
    )


def _tensor(value: Message) -> Tensor:
    kind = next((t for info in value.messages(2) for t in info.messages(1)), None)
    if kind is None:
        return Tensor(value.text(1), "no tensor", None)
    number = kind.number(1)
    shape = next(kind.messages(2), None)
    dims = None if shape is None else tuple(d.number(1) or d.text(2) for d in shape.messages(1))
    return Tensor(value.text(1), DTYPES.get(number, f"type {number}"), dims)


def _refuse_other_files(graph: Message, path: Path, depth: int) -> None:
    if depth > MAX_DEPTH:
        raise ValueError(f"graphs are nested deeper than {MAX_DEPTH}")
    for tensor in graph.messages(5):
        _refuse_external(tensor, path)
    for sparse in graph.messages(15):
        for tensor in sparse.messages(1, 2):
            _refuse_external(tensor, path)
    for node in graph.messages(1):
        _refuse_in_node(node, path, depth)


def _refuse_in_node(node: Message, path: Path, depth: int) -> None:
    for attribute in node.messages(5):
        for tensor in attribute.messages(5, 10):
            _refuse_external(tensor, path)
        for sparse in attribute.messages(22, 23):
            for tensor in sparse.messages(1, 2):
                _refuse_external(tensor, path)
        for graph in attribute.messages(6, 11):
            _refuse_other_files(graph, path, depth + 1)


def _refuse_external(tensor: Message, path: Path) -> None:
    if tensor.number(14) == EXTERNAL or next(tensor.messages(13), None) is not None:
        raise InvalidModel(
            f"{path}: the weights are in another file ({tensor.text(8)}); save them in one file "
            "with onnx.save(onnx.load(path), path)"
        )

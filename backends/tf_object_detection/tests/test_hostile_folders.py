"""Exports that were changed to do harm, and damaged ones, are refused before they run."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tensorflow.core.protobuf.saved_model_pb2 import SavedModel

from maskrcnn_server.backend import ModelConfig
from maskrcnn_server.errors import InvalidModel
from maskrcnn_tf_object_detection.backend import TFObjectDetectionBackend

Change = Callable[[Any, Any, Any], object]
"""Changes a graph, the node that calls its function that reads the variables, and the function."""


def restoring(meta: Any) -> tuple[Any, Any]:
    (call,) = [n for n in meta.graph_def.node if n.name == meta.saver_def.restore_op_name]
    name = call.attr["f"].func.name
    (function,) = [f for f in meta.graph_def.library.function if f.signature.name == name]
    return call, function


def path_within(graph: Any, call: Any, function: Any) -> None:  # noqa: ARG001
    node = function.node_def.add(name="path", op="Const")
    node.attr["dtype"].type = 7
    node.attr["value"].tensor.string_val.append(b"/etc/passwd")
    (read,) = [n for n in function.node_def if n.op == "RestoreV2"]
    read.input[0] = "path:output:0"


def path_given(graph: Any, call: Any, function: Any) -> None:  # noqa: ARG001
    node = graph.node.add(name="path", op="Const")
    node.attr["dtype"].type = 7
    node.attr["value"].tensor.string_val.append(b"/etc/passwd")
    call.input[0] = "path"


def path_of_that_name(graph: Any, call: Any, function: Any) -> None:
    """A node outside that has the name of the function's argument."""
    path_given(graph, call, function)
    graph.node[-1].name = "file_prefix"
    call.input[0] = "saver_filename"
    (read,) = [n for n in function.node_def if n.op == "RestoreV2"]
    node = graph.node.add(name="read", op="RestoreV2")
    node.input[:] = ["file_prefix", "names", "slices"]
    for name, constant in (("names", read.input[1]), ("slices", read.input[2])):
        (own,) = [n for n in function.node_def if n.name == constant.partition(":")[0]]
        graph.node.add().CopyFrom(own)
        graph.node[-1].name = name
    call.input.append("^read")


def path_within_a_call(graph: Any, call: Any, function: Any) -> None:
    """A function between both, which passes a path of its own."""
    between = graph.library.function.add()
    between.CopyFrom(function)
    between.signature.name = "between"
    del between.node_def[:]
    node = between.node_def.add(name="path", op="Const")
    node.attr["dtype"].type = 7
    node.attr["value"].tensor.string_val.append(b"/etc/passwd")
    inner = between.node_def.add(name="inner", op=function.signature.name)
    inner.input.append("path:output:0")
    call.attr["f"].func.name = "between"


def path_given_by_name(graph: Any, call: Any, function: Any) -> None:
    """A call by an operator of the function's name."""
    path_given(graph, call, function)
    call.op = function.signature.name


def writing(graph: Any, call: Any, function: Any) -> None:  # noqa: ARG001
    function.node_def.add(name="write", op="WriteFile")


def printing(graph: Any, call: Any, function: Any) -> None:  # noqa: ARG001
    graph.node.add(name="print", op="PrintV2")
    call.input.append("^print")


REFUSED: dict[str, tuple[Change, str]] = {
    "a path in the function": (path_within, "variables are to be read from another file"),
    "a path that it is given": (path_given, "variables are to be read from another file"),
    "a path of that name": (path_of_that_name, "variables are to be read from another file"),
    "a path in a call": (path_within_a_call, "variables are to be read from another file"),
    "a call by name": (path_given_by_name, "variables are to be read from another file"),
    "an operator in the function": (writing, "has the operator WriteFile"),
    "an operator before it": (printing, "has the operator PrintV2"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_reading_variables_does_nothing_else(case: str, model_dir: Path, tmp_path: Path) -> None:
    change, said = REFUSED[case]
    shutil.copytree(model_dir, tmp_path, dirs_exist_ok=True)
    path = tmp_path / "saved_model/saved_model.pb"
    saved = SavedModel.FromString(path.read_bytes())
    change(saved.meta_graphs[0].graph_def, *restoring(saved.meta_graphs[0]))
    path.write_bytes(saved.SerializeToString())
    config = ModelConfig(model_dir=tmp_path)
    probe = TFObjectDetectionBackend().probe(config)
    assert probe is not None
    assert said in probe.problems[0]
    with pytest.raises(InvalidModel, match=said):
        TFObjectDetectionBackend().load(config)


def test_a_damaged_graph_has_no_raw_error(model_dir: Path, tmp_path: Path) -> None:
    shutil.copytree(model_dir, tmp_path, dirs_exist_ok=True)
    path = tmp_path / "saved_model/saved_model.pb"
    data = np.frombuffer(path.read_bytes(), np.uint8)
    random = np.random.default_rng(0)
    for _ in range(30):
        damaged = data.copy()
        damaged[random.integers(0, len(data), 200)] = random.integers(0, 256, 200)
        path.write_bytes(damaged.tobytes())
        probe = TFObjectDetectionBackend().probe(ModelConfig(model_dir=tmp_path))
        assert probe is not None
        assert probe.problems


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.99])
def test_a_truncated_graph_is_refused(share: float, model_dir: Path, tmp_path: Path) -> None:
    shutil.copytree(model_dir, tmp_path, dirs_exist_ok=True)
    path = tmp_path / "saved_model/saved_model.pb"
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    probe = TFObjectDetectionBackend().probe(ModelConfig(model_dir=tmp_path))
    assert probe is not None
    assert probe.problems


@pytest.mark.parametrize(
    ("file", "said"),
    [
        ("variables.index", "missing, although saved_model.pb has"),
        ("variables.data-00000-of-00001", "missing"),
    ],
)
def test_missing_variables_are_named(file: str, said: str, model_dir: Path, tmp_path: Path) -> None:
    shutil.copytree(model_dir, tmp_path, dirs_exist_ok=True)
    (tmp_path / "saved_model/variables" / file).unlink()
    with pytest.raises(InvalidModel, match=said):
        TFObjectDetectionBackend().load(ModelConfig(model_dir=tmp_path))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("item { id: 2000000000 name: 'x' }", "id 2000000000, but ids are from 1 to 10000"),
        ("item { id: 99999999999999999999999999999 }", "but ids are from 1 to 10000"),
        ("item { id: -3 name: 'x' }", "id -3, but"),
        ("item { id: 1 name: 'x'", "a message does not end"),
        ("item { id: 1 name: 'x' } }", "a message ends that did not begin"),
        ("item { id: 1 name: 'x }", "line 1"),
        ("item { a: " + "{ b: " * 1000, "nested deeper than 32"),
        ("item { id: 1 }\n" * 80_000, "larger than 1048576 bytes"),
    ],
    ids=["large", "larger", "negative", "open", "closed", "quote", "deep", "long"],
)
def test_a_hostile_label_map_is_refused(
    content: str, said: str, model_dir: Path, tmp_path: Path
) -> None:
    shutil.copytree(model_dir, tmp_path, dirs_exist_ok=True)
    (tmp_path / "label_map.pbtxt").write_text(content)
    probe = TFObjectDetectionBackend().probe(ModelConfig(model_dir=tmp_path))
    assert probe is not None
    assert said in probe.problems[0]

"""Graphs of strangers are read without TensorFlow, and those that could do harm are refused."""

import resource
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.framework.graph_pb2 import GraphDef

from maskrcnn_server.errors import BackendFailed, BackendTimedOut, InvalidModel
from maskrcnn_tensorflow import graph_file, graph_session
from maskrcnn_tensorflow.graph_file import MAX_BYTES, Tensor
from maskrcnn_tensorflow.graph_session import GraphSession

EVIL = (
    "ReadFile WriteFile MatchingFiles SaveV2 RestoreV2 ImmutableConst TFRecordReaderV2 PyFunc "
    "EagerPyFunc PyFuncStateless PrintV2 DebugIdentity RemoteCall GeneratorDataset XlaLaunch "
    "Send _Recv DecodeProtoV2 LoadLibrary SomebodysOwnOperator".split()
)


def doubling(function: Callable[[tf.Tensor], tf.Tensor] = lambda x: 2.0 * x) -> GraphDef:
    """A graph of `x` and `y`."""
    with tf.Graph().as_default() as graph:
        x = tf.compat.v1.placeholder(tf.float32, [None, 3], name="x")
        tf.identity(function(x), name="y")
    return graph.as_graph_def()


def saved(graph: GraphDef, folder: Path) -> Path:
    path = folder / "graph.pb"
    path.write_bytes(graph.SerializeToString())
    return path


def run(graph: GraphDef, folder: Path) -> list[np.ndarray]:
    session = GraphSession(saved(graph, folder), {"y": "y:0"}, 1)
    try:
        return session.run(["y"], {"x:0": np.ones((2, 3), np.float32)})
    finally:
        session.close()


def refusal(graph: GraphDef, folder: Path) -> str:
    """What is said of a graph before it is loaded, which is also said when it is."""
    found = graph_file.read(saved(graph, folder))
    with pytest.raises(InvalidModel) as seen:
        found.used(["y:0"])
    with pytest.raises(InvalidModel) as loaded:
        GraphSession(folder / "graph.pb", {"y": "y:0"}, 1)
    assert seen.value.message in loaded.value.message
    return seen.value.message


def test_a_graph_runs_as_it_is(tmp_path: Path) -> None:
    assert graph_file.read(saved(doubling(), tmp_path)).inputs == {
        "x": Tensor("x:0", "float32", (-1, 3))
    }
    np.testing.assert_array_equal(run(doubling(), tmp_path)[0], np.full((2, 3), 2))


@pytest.mark.parametrize("op", EVIL)
def test_an_operator_that_may_do_more_than_compute_is_refused_by_name(
    op: str, tmp_path: Path
) -> None:
    graph = doubling()
    graph.node.add(name="evil", op=op)
    next(node for node in graph.node if node.name == "y").input.append("^evil")
    assert f"has the operator {op}, " in refusal(graph, tmp_path)


@pytest.mark.parametrize("op", EVIL)
def test_so_it_is_in_a_function_that_a_function_calls(op: str, tmp_path: Path) -> None:
    @tf.function(autograph=False)  # type: ignore[untyped-decorator]
    def outer(x: tf.Tensor) -> tf.Tensor:
        return tf.while_loop(lambda i, _: i < 3, lambda i, y: (i + 1, y * 2.0), (0, x))[1]

    graph = doubling(outer)
    bodies = [f for f in graph.library.function if "while_body" in f.signature.name]
    assert bodies
    bodies[0].node_def.add(name="evil", op=op)
    assert f"has the operator {op}, " in refusal(graph, tmp_path)


def test_a_file_is_not_written_by_what_no_output_needs(tmp_path: Path) -> None:
    target = tmp_path / "written"
    with tf.Graph().as_default() as graph:
        x = tf.compat.v1.placeholder(tf.float32, [None, 3], name="x")
        tf.io.write_file(str(target), "text")
        tf.identity(x, name="y")
    run(graph.as_graph_def(), tmp_path)
    assert not target.exists()


def test_a_function_with_an_operators_name_is_no_way_around(tmp_path: Path) -> None:
    graph = doubling()
    graph.library.function.add().signature.name = "ReadFile"
    graph.node.add(name="evil", op="ReadFile")
    next(node for node in graph.node if node.name == "y").input.append("^evil")
    with pytest.raises(InvalidModel, match="TensorFlow cannot load it"):
        run(graph, tmp_path)


def calling(graph: GraphDef, node_names: list[str], target: str, where: object = None) -> None:
    """Add calls of the function `target` to a graph, or to one of its functions."""
    add = graph.node.add if where is None else where.node_def.add  # type: ignore[attr-defined]
    for name in node_names:
        node = add(name=name, op="StatefulPartitionedCall")
        node.attr["f"].func.name = target
        node.attr["Tin"].list.SetInParent()
        node.attr["Tout"].list.SetInParent()


CHAIN = {f"f{i}": f"f{i + 1}" for i in range(60)} | {"f60": ""}


@pytest.mark.parametrize("calls", [{"f0": "f0"}, {"f0": "f1", "f1": "f0"}, CHAIN], ids=len)
def test_functions_without_end_are_refused(calls: dict[str, str], tmp_path: Path) -> None:
    graph = doubling()
    calling(graph, ["call"], "f0")
    next(node for node in graph.node if node.name == "y").input.append("^call")
    for own, called in calls.items():
        function = graph.library.function.add()
        function.signature.name = own
        if called:
            calling(graph, ["call"], called, function)
    assert "call each other over 50 levels" in refusal(graph, tmp_path)


@pytest.mark.parametrize("kind", ["node", "function"])
def test_a_name_that_stands_for_two_is_refused(kind: str, tmp_path: Path) -> None:
    graph = doubling()
    for _ in range(2):
        if kind == "node":
            graph.node.add(name="own", op="NoOp")
        else:
            graph.library.function.add().signature.name = "own"
    with pytest.raises(InvalidModel, match="two of the name own"):
        graph_file.read(saved(graph, tmp_path))


def test_functions_that_multiply_are_refused(tmp_path: Path) -> None:
    graph = doubling()
    calling(graph, ["call"], "f0")
    next(node for node in graph.node if node.name == "y").input.append("^call")
    for i in range(10):
        function = graph.library.function.add()
        function.signature.name = f"f{i}"
        if i < 9:
            calling(graph, [f"call{j}" for j in range(10)], f"f{i + 1}", function)
    assert "too large together" in refusal(graph, tmp_path)


def test_a_loop_without_end_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    graph = doubling(
        lambda x: tf.while_loop(lambda y: tf.reduce_sum(y) < 1e30, lambda y: y * 1.0, [x])[0]
    )
    monkeypatch.setattr(graph_session, "MAX_SECONDS", 1)
    with pytest.raises(BackendTimedOut, match="more than 1 s"):
        run(graph, tmp_path)


def test_constants_that_are_larger_than_the_file_are_refused(tmp_path: Path) -> None:
    graph = doubling()
    tensor = graph.node.add(name="large", op="Const").attr["value"].tensor
    tensor.dtype = 1
    tensor.float_val.append(0)
    for _ in range(2):
        tensor.tensor_shape.dim.add(size=1 << 20)
    next(node for node in graph.node if node.name == "y").input.append("^large")
    assert "more than 268435456 elements" in refusal(graph, tmp_path)


def test_an_error_of_the_graph_is_told(tmp_path: Path) -> None:
    def checked(x: tf.Tensor) -> tf.Tensor:
        with tf.control_dependencies([tf.debugging.Assert(tf.shape(x)[0] > 2, ["too small"])]):
            return tf.identity(x)

    with pytest.raises(BackendFailed, match=r"the graph refuses the image: .*assertion failed"):
        run(doubling(checked), tmp_path)


def test_a_truncated_file_is_refused(tmp_path: Path) -> None:
    graph = doubling()
    path = saved(graph, tmp_path)
    whole = path.read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        try:
            found = graph_file.read(path)
            found.used(["y:0"])
        except InvalidModel:
            continue
        assert len(found.nodes) == len(graph.node), "only the version may be missing"


@pytest.mark.parametrize("name", ["graph.pb", "saved_model.pb"])
@pytest.mark.parametrize(
    "content", [b"", b"\xff" * 99, b"PK\x03\x04" + bytes(50), b"\x0a\xff\xff\xff\xff\x07"]
)
def test_what_is_no_graph_is_refused(name: str, content: bytes, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(InvalidModel):
        graph_file.read(path).used(["y:0"])
    with pytest.raises(InvalidModel):
        GraphSession(path, {"y": "y:0"}, 1)


def test_a_huge_file_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "graph.pb"
    with path.open("wb") as file:
        file.truncate(MAX_BYTES + 1)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(InvalidModel, match=f"at most {MAX_BYTES}"):
        graph_file.read(path)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 1 << 10


@pytest.mark.parametrize("use_resource", [False, True], ids=["by reference", "as resources"])
def test_variables_of_a_saved_model_are_read(use_resource: bool, tmp_path: Path) -> None:
    with tf.Graph().as_default() as graph, tf.compat.v1.Session(graph=graph) as session:
        x = tf.compat.v1.placeholder(tf.float32, [None, 3], name="x")
        values = np.arange(3, dtype=np.float32)
        variable = tf.compat.v1.get_variable("v", initializer=values, use_resource=use_resource)
        y = tf.identity(x * variable, name="y")
        session.run(tf.compat.v1.global_variables_initializer())
        builder = tf.compat.v1.saved_model.Builder(str(tmp_path / "saved"))
        info = tf.compat.v1.saved_model.build_tensor_info
        signature = tf.compat.v1.saved_model.build_signature_def({"x": info(x)}, {"y": info(y)})
        builder.add_meta_graph_and_variables(session, ["serve"], {"serving_default": signature})
        builder.save()
    path = tmp_path / "saved/saved_model.pb"
    found = graph_file.read(path)
    assert found.outputs == {"y": Tensor("y:0", "float32", (-1, 3))}
    assert found.restoring is not None
    opened = GraphSession(path, {"y": "y:0"}, 1)
    (product,) = opened.run(["y"], {"x:0": np.ones((1, 3), np.float32)})
    opened.close()
    np.testing.assert_array_equal(product, values[None])

"""Files are read without a runtime, and those that lead elsewhere are refused."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from maskrcnn_onnx import proto
from maskrcnn_onnx.proto import Tensor
from maskrcnn_server.errors import InvalidModel


def small_model() -> onnx.ModelProto:
    """x + 1, with a name for one axis and none for another."""
    weights = numpy_helper.from_array(np.ones(1, np.float32), "one")
    graph = helper.make_graph(
        [helper.make_node("Add", ["x", "one"], ["y"])],
        "graph",
        [
            helper.make_tensor_value_info("x", TensorProto.FLOAT, [3, "height", None]),
            helper.make_tensor_value_info("one", TensorProto.FLOAT, [1]),
        ],
        [helper.make_tensor_value_info("y", TensorProto.INT64, None)],
        [weights],
    )
    model = helper.make_model(graph, producer_name="somebody")
    helper.set_model_props(model, {"key": "value"})
    return model


def saved(model: onnx.ModelProto, folder: Path) -> Path:
    path = folder / "model.onnx"
    path.write_bytes(model.SerializeToString())
    return path


def test_header_is_read(tmp_path: Path) -> None:
    header = proto.read(saved(small_model(), tmp_path))
    assert header.inputs == (Tensor("x", "float32", (3, "height", "")),)
    assert header.outputs == (Tensor("y", "int64", None),)
    assert header.metadata == {"key": "value"}
    assert header.producer == "somebody"


def external() -> onnx.TensorProto:
    tensor = TensorProto(name="weights", data_type=TensorProto.FLOAT, dims=[1])
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../../etc/passwd")
    return tensor


def in_initializer(model: onnx.ModelProto) -> None:
    model.graph.initializer.append(external())


def in_constant(model: onnx.ModelProto) -> None:
    model.graph.node.append(helper.make_node("Constant", [], ["c"], value=external()))


def in_branch(model: onnx.ModelProto) -> None:
    branch = helper.make_graph([], "branch", [], [], [external()])
    model.graph.node.append(
        helper.make_node("If", ["x"], ["z"], then_branch=branch, else_branch=branch)
    )


def in_function(model: onnx.ModelProto) -> None:
    node = helper.make_node("Constant", [], ["c"], value=external())
    model.functions.append(
        helper.make_function("own", "f", [], ["c"], [node], [helper.make_opsetid("", 17)])
    )


@pytest.mark.parametrize("place", [in_initializer, in_constant, in_branch, in_function])
def test_weights_in_another_file_are_refused(place: object, tmp_path: Path) -> None:
    model = small_model()
    assert callable(place)
    place(model)
    with pytest.raises(InvalidModel, match=r"weights are in another file \(weights\)"):
        proto.read(saved(model, tmp_path))


def test_a_truncated_file_is_refused(tmp_path: Path) -> None:
    path = saved(small_model(), tmp_path)
    whole = path.read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        try:
            header = proto.read(path)
        except InvalidModel as error:
            assert "not a valid ONNX model" in error.message  # noqa: PT017 (either is fine)
        else:
            assert header.outputs, "only what stands behind the graph may be missing"


@pytest.mark.parametrize(
    "content",
    [b"", b"\xff" * 100, b"PK\x03\x04" + bytes(50), b"\x08\x08", b"\x0f" * 9],
    ids=["empty", "no end of a number", "zip", "no graph", "groups"],
)
def test_what_is_no_model_is_refused(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(content)
    with pytest.raises(InvalidModel, match="not a valid ONNX model"):
        proto.read(path)


def test_graphs_within_graphs_have_an_end(tmp_path: Path) -> None:
    inner = helper.make_graph([], "inner", [], [])
    for _ in range(20):
        node = helper.make_node("If", ["x"], ["z"], then_branch=inner)
        inner = helper.make_graph([node], "outer", [], [])
    model = small_model()
    model.graph.node.extend(inner.node)
    with pytest.raises(InvalidModel, match="nested deeper"):
        proto.read(saved(model, tmp_path))

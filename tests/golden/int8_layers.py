"""Networks in 8-bit integers, layer by layer: what OpenVINO makes of what the file says.

Sums of products of integers are exact, on every CPU but those of `products`. What follows is not:
a sum is multiplied by a scale and rounded to an integer again, and a number midway between two
becomes either, by the last bits of a float32, which depend on the order that a CPU adds in. That
integer goes into thousands of sums of the next layer, and of two exact engines, or of one and
pictures that are a float32 apart, boxes are a tenth of a pixel apart now and then. Therefore each
layer is given the engine's own integers.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from shutil import copytree
from typing import Any, NamedTuple

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from maskrcnn_onnx.backend import OnnxBackend
from maskrcnn_onnx.session import Feed, OpenVino
from maskrcnn_server.agreement import compare
from maskrcnn_server.backend import Image, ModelConfig, PredictOptions
from maskrcnn_server.detections import Detections

TIE = 0.01
"""How far from midway between two integers a number may become either; 0.0002 was seen."""
NEAR = 1e-3
"""How far apart what is ranked or suppressed may be, absolutely and by its size."""
THREADS = 2
"""Whether a graph is watched or not: with more, floats may be added in another order."""
RANKERS = {"TopK": 1, "NonMaxSuppression": 2}
"""What decides by the order of its first inputs: one float32 apart, another proposal is taken."""
Values = Mapping[str, NDArray[Any]]


class Place(NamedTuple):
    """A tensor that is made of what comes before, and from which what comes behind is made."""

    name: str
    """What is behind takes this."""
    made: str
    """What is before makes this: of integers, what is rounded to them."""
    step: NDArray[np.float32] | None = None
    """From one integer to the next; None of floats."""
    zero: NDArray[np.uint8] | None = None


def products() -> tuple[NDArray[np.float32], NDArray[np.int64], NDArray[np.int64]]:
    """A layer's sums: OpenVINO's, exact, and those of pairs of products that end at 16 bits."""
    random = np.random.RandomState(0)
    x = random.randint(0, 256, (1, 64, 8, 8)).astype(np.uint8)
    w = random.randint(-127, 128, (32, 64, 1, 1)).astype(np.int8)
    constants = {"one": np.float32(1), "zero": np.uint8(0), "integers": w}
    constants |= {"ones": np.ones(32, np.float32), "zeros": np.zeros(32, np.int8)}
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "one", "zero"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "one", "zero"], ["d"]),
        helper.make_node("DequantizeLinear", ["integers", "ones", "zeros"], ["w"], axis=0),
        helper.make_node("Conv", ["d", "w"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes,
        "products",
        [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, x.shape)],
        [_float("y")],
        [numpy_helper.from_array(np.asarray(v), name) for name, v in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    session = OpenVino(model.SerializeToString(), 1)
    (found,) = session.run(["y"], {"x": x.astype(np.float32)})
    pairs = np.einsum(
        "opk,pkn->opn",
        w.reshape(32, 32, 2).astype(np.int64),
        x.reshape(32, 2, -1).astype(np.int64),
    )
    ended = pairs.clip(-(2**15), 2**15 - 1)
    return found.reshape(32, -1), pairs.sum(axis=1), ended.sum(axis=1)


def seven_bits(folder: Path, target: Path) -> Path:
    """A copy of a model folder, with every 8-bit weight halved and its scale doubled."""
    copytree(folder, target, dirs_exist_ok=True)
    (file,) = target.glob("*.onnx")
    model = onnx.load(file)
    tensors = {tensor.name: tensor for tensor in model.graph.initializer}
    of_weights = {
        tuple(node.input[:2])
        for node in model.graph.node
        if node.op_type == "DequantizeLinear"
        and node.input[0] in tensors
        and tensors[node.input[0]].data_type == onnx.TensorProto.INT8
    }
    for weights, scale in of_weights:
        halved = np.rint(numpy_helper.to_array(tensors[weights]) / 2).astype(np.int8)
        doubled = numpy_helper.to_array(tensors[scale]) * np.float32(2)
        tensors[weights].CopyFrom(numpy_helper.from_array(halved, weights))
        tensors[scale].CopyFrom(numpy_helper.from_array(doubled, scale))
    onnx.save(model, file)
    return target


def assert_each_as_defined(folder: Path, image: Image) -> None:
    """Every integer that the served model makes on its way, and what it finds, are of the file.

    Of each layer the reference is ONNX Runtime, told to optimise nothing: every node as ONNX
    defines it, from the integers that OpenVINO made before.
    """
    served = OnnxBackend().load(ModelConfig(model_dir=folder, threads=THREADS))
    (file,) = folder.glob("*.onnx")
    model = onnx.load(file)
    places = _places(model.graph)
    watched = _Watched(model, places)
    plain = _Plain(model, places, watched.seen)
    models = (served, served.computed_by(watched), served.computed_by(plain))
    ours, seen, theirs = (m.predict([image], PredictOptions())[0] for m in models)
    assert len(ours) > 0
    _assert_same(seen, ours)
    for place in places:
        _assert_as_defined(place, watched.seen[place.name], plain.made[place.made])
    _assert_same(seen, theirs)


def _assert_same(found: Detections, reference: Detections) -> None:
    result = compare(found, reference, box_tolerance=0.02)
    assert not result.missing + result.surplus
    assert result.score_differences.max() < 1e-4
    assert result.mask_ious.min() > 0.99


def _assert_as_defined(place: Place, found: NDArray[Any], made: NDArray[Any]) -> None:
    if place.step is None:
        np.testing.assert_allclose(found, made, rtol=NEAR, atol=NEAR, err_msg=place.name)
        return
    assert place.zero is not None
    exact = (made / np.float64(place.step) + place.zero).clip(0, 255)
    beyond = np.abs(found / np.float64(place.step) + place.zero - exact) - 0.5
    assert beyond.max(initial=0) < TIE, f"{place.name}: {np.mean(beyond >= TIE):.2%} are others"


def _places(graph: onnx.GraphProto) -> list[Place]:
    """Where integers are made, and what is ranked."""
    constants = {t.name: numpy_helper.to_array(t) for t in graph.initializer}
    makers = {name: node for node in graph.node for name in node.output}
    places = []
    for node in graph.node:
        maker = makers.get(node.input[0]) if node.input else None
        if node.op_type == "DequantizeLinear" and maker is not None:
            assert maker.op_type == "QuantizeLinear"
            step, zero = (constants[name] for name in node.input[1:3])
            places.append(Place(node.output[0], maker.input[0], step, zero))
    of_integers = {place.name for place in places}
    ranked = {
        name
        for node in graph.node
        for name in node.input[: RANKERS.get(node.op_type, 0)]
        if name in makers and name not in of_integers
    }
    return places + [Place(name, f"{name} made") for name in sorted(ranked)]


class _Watched:
    """The served graph, whose places are outputs, too."""

    def __init__(self, model: onnx.ModelProto, places: Sequence[Place]) -> None:
        copy = onnx.ModelProto()
        copy.CopyFrom(model)
        self._names = [place.name for place in places]
        copy.graph.output.extend(_float(name) for name in self._names)
        self._session = OpenVino(copy.SerializeToString(), THREADS)
        self.seen: dict[str, NDArray[Any]] = {}

    def run(self, outputs: Sequence[str], feed: Feed) -> list[NDArray[Any]]:
        values = self._session.run([*outputs, *self._names], feed)
        self.seen.update(zip(self._names, values[len(outputs) :], strict=True))
        return values[: len(outputs)]


class _Plain:
    """What lies between the places, from what was seen there."""

    def __init__(self, model: onnx.ModelProto, places: Sequence[Place], seen: Values) -> None:
        copy = onnx.ModelProto()
        copy.CopyFrom(model)
        names = {place.name: place.made for place in places}
        for node in copy.graph.node:
            for i, name in enumerate(node.output):
                if name in names:
                    node.output[i] = f"{name} made"
        copy.graph.input.extend(_float(name) for name in names)
        copy.graph.output.extend(_float(name) for name in sorted({*names.values()}))
        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        self._session = onnxruntime.InferenceSession(copy.SerializeToString(), options)
        self._names = [*names.values()]
        self._seen = seen
        self.made: dict[str, NDArray[Any]] = {}

    def run(self, outputs: Sequence[str], feed: Feed) -> list[NDArray[Any]]:
        values = self._session.run([*outputs, *self._names], {**feed, **self._seen})
        self.made.update(zip(self._names, values[len(outputs) :], strict=True))
        found: list[NDArray[Any]] = values[: len(outputs)]
        return found


def _float(name: str) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None)

"""The network's operations as nodes of OpenVINO.

Source: OpenVINO's operation sets (docs.openvino.ai), as its ONNX reader uses them.
"""

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from maskrcnn_network.graph.folding import Folded, Weights
from maskrcnn_network.graph.operations import Pads
from maskrcnn_network.graph.symbolic import FLOAT, Symbol, SymbolicOperations
from maskrcnn_openvino.runtime import openvino
from maskrcnn_server.engine import Ranges

op = openvino.opset15
Node: TypeAlias = Any

LEVELS = 256
"""Number of values of an 8-bit integer."""


class OpenVinoOperations(SymbolicOperations):
    """A graph under construction; its handles are OpenVINO's nodes and outputs."""

    def __init__(self, folded: Folded, ranges: Ranges | None = None) -> None:
        """Layers that have `ranges` are computed in 8-bit integers."""
        super().__init__(folded)
        self._ranges = ranges or {}
        self._weights: dict[str, Symbol] = {}
        self.part = ""
        """Part of the network to which new nodes belong."""
        self._count = 0
        self.inputs_of: dict[str, list[Symbol]] = {}
        """Inputs of each layer, one for each use."""

    def emit(
        self, operator: str, inputs: list[Any], outputs: int, name: str, attributes: dict[str, Any]
    ) -> list[Any]:
        nodes = [_node(x) for x in inputs]
        made = NODES[operator](nodes, attributes)
        self._count += 1
        made.set_friendly_name(f"{self.part}:{name or operator}#{self._count}")
        if operator in ("Conv", "Gemm"):  # a product, plus its bias
            product = made.input_value(0).get_node()
            product.set_friendly_name(f"{self.part}:{name}/product#{self._count}")
        return [made.output(i) for i in range(outputs)]

    def weights(self, name: str, values: NDArray[np.float32]) -> Symbol:
        if name not in self._weights:
            values = np.ascontiguousarray(values)
            constant = op.constant(values, shared_memory=True, name=name)
            layer, leaf = name.rsplit("/", 1)
            axis = 0 if values.ndim == 4 else 1
            made = _in_integers(constant, values, axis) if self._has(layer, leaf) else constant
            self._weights[name] = Symbol(self, made.output(0))
        return self._weights[name]

    def _has(self, layer: str, leaf: str) -> bool:
        return leaf == "W" and layer in self._ranges

    def convolved(
        self,
        name: str,
        x: Symbol,
        weights: Weights,
        stride: int = 1,
        pads: Pads = (0, 0),
        groups: int = 1,
        dilation: int = 1,
    ) -> Symbol:
        seen = self._input(name, x)
        return super().convolved(name, seen, weights, stride, pads, groups, dilation)

    def dense(self, name: str, x: Symbol, *, relu: bool = False) -> Symbol:
        return super().dense(name, self._input(name, x), relu=relu)

    def top(self, scores: Symbol, count: int | Symbol) -> tuple[Symbol, Symbol]:
        """The best scores, with equal ones sorted afterwards by place: OpenVINO's stable TopK takes
        seconds for a hundred thousand scores. Which scores equal to the last are included is
        undefined."""
        best, places = super().top(scores, count)
        values, at = best.handle, places.handle
        zero, one = _node(np.array([0])), _node(np.array([1]))
        before = op.concat([op.slice(values, zero, one, one, one), values], 1)
        before = op.slice(before, zero, _node(np.array([-1])), one, one)
        run = op.cum_sum(op.convert(op.not_equal(values, before), "i64"), _node(np.array(1)))
        size = op.gather(op.shape_of(values), _node(np.array(1)), _node(np.array(0)))

        def ascending(keys: Node) -> Node:
            """Indices (batch, size) that sort keys."""
            negative = op.convert(op.negative(keys), "i32")
            return op.topk(negative, size, 1, "max", "value", index_element_type="i64").output(1)

        # Ranks of places instead of places, whose products would not fit in 32 bits.
        rank = ascending(ascending(at))
        order = ascending(op.add(op.multiply(run, size), rank))
        ordered = op.gather_elements(at, order, 1)
        return best, Symbol(self, ordered.output(0))

    def _input(self, layer: str, x: Symbol) -> Symbol:
        """`x` as input of a layer: in integers if its range is known."""
        self.inputs_of.setdefault(layer, []).append(x)
        if layer not in self._ranges:
            return x
        low, high = self._ranges[layer]
        # Zero is one of the values, so that padding is exact.
        low, high = min(low, 0.0), max(high, 0.0)
        step = (high - low) / (LEVELS - 1) or 1.0
        low = -round(-low / step) * step
        ends = [np.float32(low), np.float32(low + (LEVELS - 1) * step)]
        made = op.fake_quantize(x.handle, *map(_node, ends * 2), LEVELS)
        return Symbol(self, made.output(0))


def _in_integers(constant: Node, values: NDArray[np.float32], axis: int) -> Node:
    """Weights rounded to 255 values symmetric around 0, for each output channel."""
    others = tuple(i for i in range(values.ndim) if i != axis)
    high = np.abs(values).max(axis=others, keepdims=True)
    high[high == 0] = 1.0
    ends = [_node(-high), _node(high)]
    return op.fake_quantize(constant, *ends, *ends, LEVELS - 1)


def _node(x: Any) -> Node:
    return op.constant(x) if isinstance(x, np.ndarray | np.generic) else x


def _slice(x: list[Node], _: Mapping[str, Any]) -> Node:
    data, start, stop, axes, step = x
    return op.slice(data, start, stop, step, axes)


def _shape(x: list[Node], a: Mapping[str, Any]) -> Node:
    shape = op.shape_of(x[0], "i64")
    if not a:
        return shape
    start, end = a.get("start", 0), a.get("end", np.iinfo(np.int64).max)
    return op.slice(shape, *(op.constant(np.array([n])) for n in (start, end, 1, 0)))


def _reduce(make: Callable[..., Node]) -> "Make":
    def reduce(x: list[Node], a: Mapping[str, Any]) -> Node:
        return make(x[0], op.constant(np.array(a["axes"])), bool(a["keepdims"]))

    return reduce


def _pooled(x: list[Node], a: Mapping[str, Any]) -> Node:
    pads, ones = a["pads"], [1, 1]
    return op.max_pool(x[0], a["strides"], ones, pads[:2], pads[2:], a["kernel_shape"])


def _conv(x: list[Node], a: Mapping[str, Any]) -> Node:
    data, kernel, bias = x
    groups, rest = a["group"], (a["strides"], a["pads"][:2], a["pads"][2:], a["dilations"])
    if groups == 1:
        y = op.convolution(data, kernel, *rest)
    else:
        out, *own = (
            kernel.get_output_shape(0) if isinstance(kernel, openvino.Node) else kernel.shape
        )
        split = op.constant(np.array([groups, out // groups, *own]))
        y = op.group_convolution(data, op.reshape(kernel, split, False), *rest)
    return op.add(y, op.reshape(bias, op.constant(np.array([1, -1, 1, 1])), False))


def _resize(x: list[Node], _: Mapping[str, Any]) -> Node:
    return op.interpolate(
        x[0],
        op.constant(np.array([2.0, 2.0], np.float32)),
        "nearest",
        "scales",
        coordinate_transformation_mode="asymmetric",
        nearest_mode="floor",
        axes=op.constant(np.array([2, 3])),
    )


def _roi_align(x: list[Node], a: Mapping[str, Any]) -> Node:
    half = a["coordinate_transformation_mode"] == "half_pixel"
    return op.roi_align(
        *x,
        a["output_height"],
        a["output_width"],
        a["sampling_ratio"],
        a["spatial_scale"],
        "avg",
        "half_pixel_for_nn" if half else "asymmetric",
    )


def _suppress(x: list[Node], _: Mapping[str, Any]) -> Node:
    return op.non_max_suppression(*x, box_encoding="corner", sort_result_descending=False)


def _top(x: list[Node], a: Mapping[str, Any]) -> Node:
    count = op.squeeze(x[1], op.constant(np.array([0])))
    return op.topk(x[0], count, a["axis"], "max", "value", index_element_type="i64")


def _pad(x: list[Node], _: Mapping[str, Any]) -> Node:
    before, after = op.split(x[1], op.constant(0), 2).outputs()
    return op.pad(x[0], before, after, "constant", *x[2:])


def _range(x: list[Node], _: Mapping[str, Any]) -> Node:
    return op.range(x[0], x[1], x[2], "i64")


Make: TypeAlias = Callable[[list[Node], Mapping[str, Any]], Node]

NODES: dict[str, Make] = {
    "Add": lambda x, _: op.add(*x),
    "Sub": lambda x, _: op.subtract(*x),
    "Mul": lambda x, _: op.multiply(*x),
    "Div": lambda x, _: op.divide(*x),
    "Min": lambda x, _: op.minimum(*x),
    "Max": lambda x, _: op.maximum(*x),
    "Exp": lambda x, _: op.exp(*x),
    "Log": lambda x, _: op.log(*x),
    "Sqrt": lambda x, _: op.sqrt(*x),
    "Floor": lambda x, _: op.floor(*x),
    "Relu": lambda x, _: op.relu(*x),
    "Softmax": lambda x, a: op.softmax(x[0], a["axis"]),
    "Where": lambda x, _: op.select(*x),
    "Equal": lambda x, _: op.equal(*x),
    "GreaterOrEqual": lambda x, _: op.greater_equal(*x),
    "Cast": lambda x, a: op.convert(x[0], "f32" if a["to"] == FLOAT else "i64"),
    "Shape": _shape,
    "Range": _range,
    "Concat": lambda x, a: op.concat(x, a["axis"]),
    "Reshape": lambda x, _: op.reshape(*x, special_zero=True),
    "Flatten": lambda x, _: op.reshape(x[0], op.constant(np.array([0, -1])), special_zero=True),
    "Squeeze": lambda x, _: op.squeeze(*x),
    "Unsqueeze": lambda x, _: op.unsqueeze(*x),
    "Transpose": lambda x, a: op.transpose(x[0], op.constant(np.array(a["perm"]))),
    "Expand": lambda x, _: op.broadcast(*x),
    "Pad": _pad,
    "Slice": _slice,
    "Gather": lambda x, a: op.gather(*x, op.constant(np.array(a["axis"]))),
    "GatherND": lambda x, a: op.gather_nd(*x, a.get("batch_dims", 0)),
    "ScatterND": lambda x, _: op.scatter_nd_update(*x),
    "ScatterElements": lambda x, a: op.scatter_elements_update(
        *x, op.constant(np.array(a["axis"]))
    ),
    "NonZero": lambda x, _: op.non_zero(x[0], "i64"),
    "ReduceMean": _reduce(op.reduce_mean),
    "ReduceMax": _reduce(op.reduce_max),
    "ReduceMin": _reduce(op.reduce_min),
    "MatMul": lambda x, _: op.matmul(*x, False, False),
    "Gemm": lambda x, _: op.add(op.matmul(x[0], x[1], False, False), x[2]),
    "Conv": _conv,
    "MaxPool": _pooled,
    "Resize": _resize,
    "RoiAlign": _roi_align,
    "TopK": _top,
    "NonMaxSuppression": _suppress,
}

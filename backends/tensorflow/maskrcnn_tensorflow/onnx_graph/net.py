"""An ONNX graph in the making."""

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from maskrcnn_tensorflow.folding import EPSILON, GROUPS, Folded, Weights

OPSET = 17
IR_VERSION = 8

Value: TypeAlias = str
"""A tensor of the graph, by its name."""
Input: TypeAlias = "Value | NDArray[Any]"
"""A tensor, or a constant."""


def ints(*values: int) -> NDArray[np.int64]:
    """A constant (len(values),)."""
    return np.array(values, np.int64)


def number(value: float) -> NDArray[np.float32]:
    """A constant ()."""
    return np.array(value, np.float32)


class Net:
    """Operators are called by name: `net("Add", a, b)` is their sum. Feature maps are NCHW."""

    def __init__(self, folded: Folded) -> None:
        self._layers = folded.layers
        self._norms = folded.norms
        self._nodes: list[onnx.NodeProto] = []
        self._constants: list[onnx.TensorProto] = []
        self._names: set[str] = set()

    def __call__(self, operator: str, *inputs: Input, name: str = "", **attributes: Any) -> Value:
        """The operator's one output."""
        (value,) = self.several(operator, *inputs, outputs=1, name=name, **attributes)
        return value

    def several(
        self, operator: str, *inputs: Input, outputs: int, name: str = "", **attributes: Any
    ) -> list[Value]:
        """All its outputs."""
        name = self._unused(name or operator)
        values = [name if i == 0 else f"{name}:{i}" for i in range(outputs)]
        given = [value if isinstance(value, str) else self._constant(value) for value in inputs]
        self._nodes.append(helper.make_node(operator, given, values, name, **attributes))
        return values

    def __contains__(self, layer: str) -> bool:
        return layer in self._layers

    def __getitem__(self, layer: str) -> Weights:
        return self._layers[layer]

    def numbered(self, stem: str) -> list[str]:
        """The layers `<stem>0`, `<stem>1` and so on, as many as there are."""
        count = 0
        while f"{stem}{count}" in self:
            count += 1
        return [f"{stem}{i}" for i in range(count)]

    def conv(
        self, name: str, x: Value, stride: int = 1, pads: tuple[int, int] | None = None
    ) -> Value:
        """Convolve with the layer of this name, add its bias, apply the norm `<name>/gn`.

        `pads` are zeros on the top and left, and on the other sides; None: what keeps the size.
        """
        y = self.convolved(name, x, self[name], stride, pads)
        return self.norm(f"{name}/gn", y)

    def convolved(
        self,
        name: str,
        x: Value,
        weights: Weights,
        stride: int = 1,
        pads: tuple[int, int] | None = None,
    ) -> Value:
        """Convolve with these weights, and add the bias."""
        kernel, bias = weights
        size = kernel.shape[0]
        before, after = pads or ((size - 1) // 2, size // 2)
        return self(
            "Conv",
            x,
            self._weights(f"{name}/W", kernel.transpose(3, 2, 0, 1)),
            self._weights(f"{name}/b", bias),
            name=name,
            kernel_shape=[size, size],
            strides=[stride, stride],
            pads=[before, before, after, after],
        )

    def relu(self, x: Value) -> Value:
        """What is below 0 as 0."""
        return self("Relu", x, name=f"{x}/relu")

    def dense(self, name: str, x: Value) -> Value:
        """Multiply `x` (n, in) with the kernel and add the bias."""
        kernel, bias = (
            self._weights(f"{name}/{leaf}", values)
            for leaf, values in zip("Wb", self[name], strict=True)
        )
        return self("Gemm", x, kernel, bias, name=name)

    def norm(self, name: str, x: Value) -> Value:
        """Group normalisation (Wu and He 2018), or `x` where there is none of that name."""
        if name not in self._norms:
            return x
        gamma, beta = self._norms[name]
        grouped = self("Reshape", x, ints(0, GROUPS, len(gamma) // GROUPS, -1))
        centred = self("Sub", grouped, self._mean(grouped))
        spread = self(
            "Sqrt", self("Add", self._mean(self("Mul", centred, centred)), number(EPSILON))
        )
        normal = self("Reshape", self("Div", centred, spread), self("Shape", x))
        scaled = self("Mul", normal, gamma.reshape(-1, 1, 1))
        return self("Add", scaled, beta.reshape(-1, 1, 1))

    def size(self, x: Value, axis: int) -> Value:
        """The length (1,) of `x` along an axis."""
        return self("Shape", x, start=axis, end=axis + 1)

    def part(self, x: Value, start: int, end: int, axis: int = -1, step: int = 1) -> Value:
        """`x` from `start` to `end` along an axis."""
        return self("Slice", x, ints(start), ints(end), ints(axis), ints(step))

    def model(
        self,
        inputs: Mapping[str, tuple[int, Sequence[int | str]]],
        outputs: Mapping[str, tuple[Value, int, Sequence[int | str]]],
        metadata: Mapping[str, str],
    ) -> onnx.ModelProto:
        """The finished model: inputs with types and shapes, and what is called what outside."""
        for name, (value, _, _) in outputs.items():
            self._nodes.append(helper.make_node("Identity", [value], [name], f"output {name}"))
        graph = helper.make_graph(
            self._nodes,
            "mask_rcnn",
            [helper.make_tensor_value_info(n, kind, shape) for n, (kind, shape) in inputs.items()],
            [
                helper.make_tensor_value_info(name, kind, shape)
                for name, (_, kind, shape) in outputs.items()
            ],
            self._constants,
        )
        opsets = [helper.make_opsetid("", OPSET)]
        model = helper.make_model(
            graph, opset_imports=opsets, ir_version=IR_VERSION, producer_name="maskrcnn-server"
        )
        helper.set_model_props(model, dict(metadata))
        return model

    def _mean(self, grouped: Value) -> Value:
        """Over the last axis first: a float32 sum of a hundred thousand loses three digits."""
        rows = self("ReduceMean", grouped, axes=[3], keepdims=1)
        return self("ReduceMean", rows, axes=[2], keepdims=1)

    def _weights(self, name: str, values: NDArray[np.float32]) -> Value:
        """Weights by name: once, however many feature maps they are used on."""
        if name not in self._names:
            self._names.add(name)
            self._constants.append(numpy_helper.from_array(np.ascontiguousarray(values), name))
        return name

    def _constant(self, value: NDArray[Any]) -> Value:
        name = self._unused("constant")
        self._constants.append(numpy_helper.from_array(value, name))
        return name

    def _unused(self, name: str) -> str:
        number, unused = 1, name
        while unused in self._names:
            number += 1
            unused = f"{name}#{number}"
        self._names.add(unused)
        return unused


FLOAT, INT, BOOL = TensorProto.FLOAT, TensorProto.INT64, TensorProto.BOOL

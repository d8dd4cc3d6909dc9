"""Operations that are recorded as nodes of a graph instead of computed.

Nodes have the names and meaning of ONNX's operators in opset 17.
Source: github.com/onnx/onnx, docs/Operators.md.
"""

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maskrcnn_network.graph.cropping import CropsByRoiAlign
from maskrcnn_network.graph.folding import EPSILON, GROUPS, Scales, Weights
from maskrcnn_network.graph.operations import DROPPED, LOWEST, Pads, Regions, Slots
from maskrcnn_network.graph.sampling import Sampling

FLOAT, INT = 1, 7
"""ONNX's numbers for the types float32 and int64."""


def ints(*values: int) -> NDArray[np.int64]:
    """A constant (len(values),)."""
    return np.array(values, np.int64)


def _given(x: Any) -> Any:
    """A symbol's handle; a number as an array."""
    if isinstance(x, Symbol):
        return x.handle
    return np.asarray(x, np.float32 if isinstance(x, float) else None) if x is not None else None


class Symbol:
    """A tensor of a graph."""

    __array_ufunc__ = None  # NumPy leaves `array - symbol` to the symbol

    def __init__(self, graph: "SymbolicOperations", handle: Any) -> None:
        """`handle` identifies the tensor in its graph."""
        self.graph = graph
        self.handle = handle

    def __add__(self, other: Any) -> "Symbol":
        return self.graph.node("Add", self, other)

    def __sub__(self, other: Any) -> "Symbol":
        return self.graph.node("Sub", self, other)

    def __rsub__(self, other: Any) -> "Symbol":
        return self.graph.node("Sub", other, self)

    def __mul__(self, other: Any) -> "Symbol":
        return self.graph.node("Mul", self, other)

    def __truediv__(self, other: Any) -> "Symbol":
        return self.graph.node("Div", self, other)

    def __rtruediv__(self, other: Any) -> "Symbol":
        return self.graph.node("Div", other, self)

    def __floordiv__(self, other: Any) -> "Symbol":
        return self.graph.node("Div", self, other)

    def __ge__(self, other: Any) -> "Symbol":
        return self.graph.node("GreaterOrEqual", self, other)

    def __getitem__(self, index: Any) -> "Symbol":
        """Slices with a stop, and new axes; after an ellipsis, counted from the last axis."""
        items = index if isinstance(index, tuple) else (index,)
        if items[0] is Ellipsis:
            items = items[1:]
            axes = range(-len(items), 0)
        else:
            axes = range(len(items))
        x, new = self, [axis for axis, item in zip(axes, items, strict=True) if item is None]
        old = (item for item in items if item is not None)
        for axis, item in enumerate(old, axes[0] if axes[0] < 0 else 0):
            if item != slice(None):
                ends = ints(item.start or 0), ints(item.stop), ints(axis), ints(1)
                x = self.graph.node("Slice", x, *ends)
        return self.graph.node("Unsqueeze", x, ints(*new)) if new else x


class SymbolicOperations(CropsByRoiAlign):
    """A graph under construction. Feature maps are NCHW."""

    # Specific to a kind of graph.

    @abstractmethod
    def emit(
        self, operator: str, inputs: list[Any], outputs: int, name: str, attributes: dict[str, Any]
    ) -> list[Any]:
        """The handles of a new node's outputs; `inputs` are handles, arrays, or None."""

    @abstractmethod
    def weights(self, name: str, values: NDArray[np.float32]) -> Symbol:
        """A named constant, created once however many nodes use it."""

    def node(self, operator: str, *inputs: Any, name: str = "", **attributes: Any) -> Symbol:
        """The only output of a new node with inputs that are symbols, arrays or numbers."""
        (output,) = self.nodes(operator, *inputs, outputs=1, name=name, **attributes)
        return output

    def nodes(
        self, operator: str, *inputs: Any, outputs: int, name: str = "", **attributes: Any
    ) -> list[Symbol]:
        """All outputs of a new node."""
        handles = self.emit(operator, [_given(x) for x in inputs], outputs, name, attributes)
        return [Symbol(self, handle) for handle in handles]

    # Layers.

    def convolve(
        self, name: str, x: Symbol, stride: int, pads: Pads, groups: int = 1, dilation: int = 1
    ) -> Symbol:
        return self.convolved(name, x, self.layers[name], stride, pads, groups, dilation)

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
        """Convolve with these weights, and add the bias."""
        size, (before, after) = weights.kernel.shape[0], pads
        return self.node(
            "Conv",
            x,
            self.weights(f"{name}/W", weights.kernel.transpose(3, 2, 0, 1)),
            self.weights(f"{name}/b", weights.bias),
            name=name,
            kernel_shape=[size, size],
            strides=[stride, stride],
            pads=[before, before, after, after],
            dilations=[dilation, dilation],
            group=groups,
        )

    def group_norm(self, x: Symbol, scales: Scales) -> Symbol:
        shape = ints(0, GROUPS, len(scales.gamma) // GROUPS, -1)
        grouped = self.node("Reshape", x, shape)
        centred = grouped - self._mean(grouped)
        spread = self.sqrt(self._mean(centred * centred) + EPSILON)
        normal = self.node("Reshape", centred / spread, self.node("Shape", x))
        return normal * scales.gamma.reshape(-1, 1, 1) + scales.beta.reshape(-1, 1, 1)

    def _mean(self, grouped: Symbol) -> Symbol:
        rows = self.node("ReduceMean", grouped, axes=[3], keepdims=1)
        return self.node("ReduceMean", rows, axes=[2], keepdims=1)

    def dense(self, name: str, x: Symbol, *, relu: bool = False) -> Symbol:
        kernel, bias = self.layers[name]
        weights = self.weights(f"{name}/W", kernel), self.weights(f"{name}/b", bias)
        y = self.node("Gemm", x, *weights, name=name)
        return self.relu(y) if relu else y

    def mask_logits(self, head: str, regions: Regions, labels: Symbol, side: int) -> Symbol:
        """The transposed convolution is one of 1 x 1: the four places that each pixel becomes are
        neighbouring channels, which are interleaved at the end."""
        deconv, (kernel, bias) = self.layers[f"{head}/deconv"], self.layers[f"{head}/conv"]
        width = kernel.shape[2]
        quarters = Weights(
            deconv.kernel.reshape(-1, deconv.kernel.shape[3]).T[None, None], np.tile(deconv.bias, 4)
        )
        x = self.relu(self.convolved(f"{head}/deconv", regions.maps, quarters))
        if regions.order is not None:
            labels = self.gather(labels, regions.order)
        channel = labels - ints(1)
        own_kernel = self.node("Gather", kernel[0, 0].T.reshape(-1, 1, 1, width), channel, axis=0)
        own_bias = self.node("Gather", bias.reshape(-1, 1, 1, 1), channel, axis=0)
        flat = self.node("Reshape", x, ints(-1, 4, width, side * side))
        logits = self.node("MatMul", own_kernel, flat) + own_bias
        by_place = self.reshape(logits, (-1, 2, 2, side, side))
        woven = self.transpose(by_place, (0, 3, 1, 4, 2))
        return self.in_order(regions, self.reshape(woven, (-1, 2 * side, 2 * side)))

    # Feature maps.

    def relu(self, x: Symbol) -> Symbol:
        return self.node("Relu", x)

    def max_pool(self, x: Symbol, pads: Pads) -> Symbol:
        # A ReLU's output may be padded with zeros or with nothing: no window is empty.
        before, after = pads
        pads4 = [before, before, after, after]
        return self.node("MaxPool", x, kernel_shape=[3, 3], strides=[2, 2], pads=pads4)

    def upsample(self, x: Symbol) -> Symbol:
        return self.node(
            "Resize",
            x,
            None,
            np.array([1, 1, 2, 2], np.float32),
            mode="nearest",
            coordinate_transformation_mode="asymmetric",
            nearest_mode="floor",
        )

    def subsample(self, x: Symbol) -> Symbol:
        return self.node("MaxPool", x, kernel_shape=[1, 1], strides=[2, 2], pads=[0, 0, 0, 0])

    def crop(self, x: Symbol) -> Symbol:
        return self.node("Slice", x, ints(0, 0), ints(-1, -1), ints(2, 3), ints(1, 1))

    def flatten(self, x: Symbol) -> Symbol:
        return self.node("Flatten", x, axis=1)

    def spatial_mean(self, x: Symbol) -> Symbol:
        return self.node("ReduceMean", x, axes=[2, 3], keepdims=0)

    def cells(self, x: Symbol, numbers: int) -> Symbol:
        return self.reshape(self.transpose(x, (0, 2, 3, 1)), (0, -1, numbers))

    def extent(self, x: Symbol) -> Symbol:
        return self.to_float(self.concat([self._length(x, axis) for axis in (3, 2)], 0))

    def places(self, x: Symbol, stride: int | None, images: Symbol) -> tuple[Symbol, Symbol]:
        columns, rows = (self._places(x, axis, stride, images) for axis in (3, 2))
        return columns, rows

    def _places(self, x: Symbol, axis: int, stride: int | None, images: Symbol) -> Symbol:
        count = self._length(x, axis)
        step = ints(stride) if stride else self.node("Div", self._length(images, axis), count)
        return self.to_float(self._range(count) * step)

    def _length(self, x: Symbol, axis: int) -> Symbol:
        """The length (1,) of `x` along an axis."""
        return self.node("Shape", x, start=axis, end=axis + 1)

    def _range(self, count: Symbol) -> Symbol:
        number = self.node("Squeeze", count, ints(0))
        return self.node("Range", np.array(0), number, np.array(1))

    def roi_align(
        self,
        features: Sequence[Symbol],
        strides: Sequence[int],
        boxes: Symbol,
        images: Symbol,
        levels: Symbol | None,
        resolution: int,
        sampling: Sampling,
    ) -> Regions:
        """Map by map, with the boxes of its level."""
        if levels is None:
            return Regions(
                self._roi_align(features[0], boxes, images, strides[0], resolution, sampling)
            )
        members, crops = [], []
        for level, (feature, stride) in enumerate(zip(features, strides, strict=True)):
            served = self.node("Equal", levels, ints(level))
            own = self.node("Squeeze", self.node("NonZero", served), ints(0))
            members.append(own)
            own_boxes, own_images = self.gather(boxes, own), self.gather(images, own)
            crops.append(
                self._roi_align(feature, own_boxes, own_images, stride, resolution, sampling)
            )
        return Regions(self.concat(crops, 0), self.concat(members, 0))

    def _roi_align(
        self,
        feature: Symbol,
        boxes: Symbol,
        images: Symbol,
        stride: int,
        resolution: int,
        sampling: Sampling,
    ) -> Symbol:
        scale = 1 / stride
        if sampling.shift:
            boxes, scale = boxes * scale + sampling.shift, 1.0
        mode = "half_pixel" if sampling.half_pixel else "output_half_pixel"
        return self.node(
            "RoiAlign",
            feature,
            boxes,
            images,
            coordinate_transformation_mode=mode,
            mode="avg",
            output_height=resolution,
            output_width=resolution,
            sampling_ratio=sampling.samples,
            spatial_scale=scale,
        )

    def weighted(self, regions: Regions, weights: Symbol) -> Regions:
        if regions.order is not None:
            weights = self.gather(weights, regions.order)
        rows, columns = weights[..., 1:2], self.transpose(weights[..., 0:1], (0, 2, 1))
        return regions._replace(maps=regions.maps * rows[:, None] * columns[:, None])

    def in_order(self, regions: Regions, x: Symbol) -> Symbol:
        order = regions.order
        if order is None:
            return x
        places = self._range(self._length(order, 0))
        return self.gather(x, self.node("ScatterElements", order, order, places, axis=0))

    # Tensors.

    def constant(self, values: NDArray[Any]) -> Any:
        return values

    def minimum(self, a: Symbol, b: Symbol | float) -> Symbol:
        return self.node("Min", a, b)

    def maximum(self, a: Symbol, b: Symbol | float) -> Symbol:
        return self.node("Max", a, b)

    def exp(self, x: Symbol) -> Symbol:
        return self.node("Exp", x)

    def log(self, x: Symbol) -> Symbol:
        return self.node("Log", x)

    def sqrt(self, x: Symbol) -> Symbol:
        return self.node("Sqrt", x)

    def floor(self, x: Symbol) -> Symbol:
        return self.node("Floor", x)

    def softmax(self, x: Symbol) -> Symbol:
        return self.node("Softmax", x, axis=-1)

    def where(self, condition: Symbol, x: Symbol, y: Symbol | float) -> Symbol:
        return self.node("Where", condition, x, y)

    def largest(self, x: Symbol) -> Symbol:
        return self.node("ReduceMax", x, axes=[1, 2, 3], keepdims=1)

    def least(self, x: Symbol) -> Symbol:
        return self.node("ReduceMin", x, axes=[-1], keepdims=0)

    def concat(self, parts: Sequence[Symbol], axis: int) -> Symbol:
        return parts[0] if len(parts) == 1 else self.node("Concat", *parts, axis=axis)

    def reshape(self, x: Symbol, shape: Sequence[int]) -> Symbol:
        return self.node("Reshape", x, ints(*shape))

    def transpose(self, x: Symbol, axes: Sequence[int]) -> Symbol:
        return self.node("Transpose", x, perm=list(axes))

    def to_int(self, x: Symbol) -> Symbol:
        return self.node("Cast", x, to=INT)

    def to_float(self, x: Symbol) -> Symbol:
        return self.node("Cast", x, to=FLOAT)

    def gather(self, x: Symbol, index: Symbol) -> Symbol:
        return self.node("Gather", x, index, axis=0)

    def take(self, x: Symbol, index: Symbol) -> Symbol:
        return self.node("GatherND", x, self.node("Unsqueeze", index, ints(2)), batch_dims=1)

    # Lists of candidates.

    def top(self, scores: Symbol, count: int | Symbol) -> tuple[Symbol, Symbol]:
        wanted = ints(count) if isinstance(count, int) else count
        there = self.node("Min", wanted, self._length(scores, 1))
        best, places = self.nodes("TopK", scores, there, outputs=2, axis=1)
        if not isinstance(count, int):
            return best, places  # there are always as many as a request may ask for
        after = self.node("Concat", ints(0, 0, 0), wanted - there, axis=0)
        return self.node("Pad", best, after, np.float32(DROPPED)), self.node("Pad", places, after)

    def suppress(self, boxes: Symbol, scores: Symbol, keep: int | Symbol, iou: float) -> Symbol:
        most = ints(keep) if isinstance(keep, int) else keep
        one_class = self.node("Unsqueeze", scores, ints(1))
        chosen = self.node("NonMaxSuppression", boxes, one_class, most, np.float32(iou), LOWEST)
        places = self.node("Gather", chosen, ints(0, 2), axis=1)
        dropped = self.node("Expand", np.float32(DROPPED), self.node("Shape", scores))
        return self.node("ScatterND", dropped, places, self.node("GatherND", scores, places))

    def compact(self, scores: Symbol, *values: Symbol) -> tuple[Slots, list[Symbol]]:
        present = self.node("NonZero", self.node("GreaterOrEqual", scores, LOWEST))
        places = self.transpose(present, (1, 0))
        images = self.node("Squeeze", places[:, 0:1], ints(1))
        lists = [self.node("GatherND", x, places) for x in (scores, *values)]
        shape = self.node("Shape", scores)
        return Slots(images, shape[1:2], (places, shape)), lists

    def spread(self, values: Symbol, slots: Slots, missing: float) -> Symbol:
        places, shape = slots.places
        full = self.node("Concat", shape, self.node("Shape", values, start=1), axis=0)
        empty = self.node("Expand", np.float32(missing), full)
        return self.node("ScatterND", empty, places, values)

"""The two kinds of body that heads sit on, as `maskrcnn_tensorflow.body` has them."""

import math
from typing import NamedTuple, Protocol, TypeAlias

import numpy as np

from maskrcnn_tensorflow.architecture import Architecture
from maskrcnn_tensorflow.config import NetworkConfig
from maskrcnn_tensorflow.onnx_graph.net import INT, Net, Value, ints, number
from maskrcnn_tensorflow.onnx_graph.rules import Rules, Sampling

LEVELS = (2, 3, 4, 5)

Cell: TypeAlias = tuple[tuple[float, ...], int]
"""The sizes of a feature map's anchors, and the stride of its cells."""


class Regions(NamedTuple):
    """What boxes look like, in an order that the graph finds convenient."""

    pooled: Value
    """(R, channels, height, width) float32."""
    members: Value | None
    """(R,) int64: whose each is. None: in the order of the boxes."""

    def sorted(self, net: Net, x: Value) -> Value:
        """`x` (R, ...), which was made of `pooled`, in the order of the boxes."""
        return x if self.members is None else net("Gather", x, _inverse(net, self.members))

    def shuffled(self, net: Net, x: Value) -> Value:
        """`x` (R, ...), in the order of the boxes, in that of `pooled`."""
        return x if self.members is None else net("Gather", x, self.members)


class Body(Protocol):
    """Turns images into feature maps, and boxes into what the heads see of them."""

    box_resolution: int
    mask_resolution: int
    mask_side: int
    """Of what `regions` makes of a region at `mask_resolution`."""
    anchors: list[Cell]
    """Of each feature map."""

    def features(self, images: Value) -> list[Value]:
        """Feature maps of normalised images."""

    def regions(
        self, features: list[Value], boxes: Value, images: Value, resolution: int
    ) -> Regions:
        """What `boxes` (R, 4) look like in images (R,) of the batch."""


class Pyramid:
    """Five feature maps, P2 to P6 (Lin et al. 2017)."""

    box_resolution = 7
    mask_resolution = mask_side = 14

    def __init__(
        self, net: Net, architecture: Architecture, config: NetworkConfig, rules: Rules
    ) -> None:
        self._net, self._config, self._rules = net, config, rules
        self._blocks = architecture.blocks
        self.anchors: list[Cell] = [
            ((size,), stride)
            for size, stride in zip(config.anchor_sizes, config.anchor_strides, strict=True)
        ]

    def features(self, images: Value) -> list[Value]:
        net = self._net
        x, maps = _stem(net, images, self._config), []
        for index, blocks in enumerate(self._blocks):
            x = _group(net, index, x, blocks, self._config)
            maps.append(x)
        laterals = [
            net.norm(f"fpn/gn_c{i}", net.conv(f"fpn/lateral_1x1_c{i}", c))
            for i, c in enumerate(maps, start=2)
        ]
        merged = [laterals[-1]]
        for level, lateral in zip((4, 3, 2), reversed(laterals[:-1]), strict=True):
            above = _upsample2(net, merged[0], f"fpn/upsample_p{level + 1}")
            merged.insert(0, net("Add", lateral, above, name=f"fpn/merged_p{level}"))
        outputs = [
            net.norm(f"fpn/gn_p{i}", net.conv(f"fpn/posthoc_3x3_p{i}", m))
            for i, m in enumerate(merged, start=2)
        ]
        p6 = net("MaxPool", outputs[-1], kernel_shape=[1, 1], strides=[2, 2], name="fpn/p6")
        return [*outputs, p6]

    def regions(
        self, features: list[Value], boxes: Value, images: Value, resolution: int
    ) -> Regions:
        net = self._net
        levels = self._levels(boxes)
        members, crops = [], []
        for level, feature in zip(LEVELS, features[:4], strict=True):
            own = net("Squeeze", net("NonZero", net("Equal", levels, ints(level))), ints(0))
            members.append(own)
            crops.append(
                _roi_align(
                    net,
                    feature,
                    net("Gather", boxes, own),
                    net("Gather", images, own),
                    resolution,
                    1 / 2**level,
                    self._rules.sampling,
                )
            )
        return Regions(net("Concat", *crops, axis=0), net("Concat", *members, axis=0))

    def _levels(self, boxes: Value) -> Value:
        """Of each box, the level that serves it: Lin et al. 2017, equation 1, clamped."""
        net, rules = self._net, self._rules
        extent = net("Sub", net.part(boxes, 2, 4), net.part(boxes, 0, 2))
        root = net("Sqrt", net("Mul", net.part(extent, 0, 1), net.part(extent, 1, 2)))
        root = net("Squeeze", root, ints(1))
        relative = net("Add", net("Div", root, number(224)), number(rules.level_epsilon))
        octave = net("Div", net("Log", relative), number(math.log(2)))
        octave = net("Add", octave, number(4))
        if rules.octave_epsilon:
            octave = net("Add", octave, number(rules.octave_epsilon))
        level = net("Clip", net("Floor", octave), number(LEVELS[0]), number(LEVELS[-1]))
        return net("Cast", level, to=INT)


class C4:
    """One feature map of stride 16; the last ResNet group sees each region, and halves it."""

    STRIDE = 16
    box_resolution = 14
    mask_resolution = 14
    mask_side = 7

    def __init__(
        self, net: Net, architecture: Architecture, config: NetworkConfig, rules: Rules
    ) -> None:
        self._net, self._config, self._rules = net, config, rules
        self._blocks = architecture.blocks
        self.anchors: list[Cell] = [(config.anchor_sizes, self.STRIDE)]

    def features(self, images: Value) -> list[Value]:
        x = _stem(self._net, images, self._config)
        for index, blocks in enumerate(self._blocks[:3]):
            x = _group(self._net, index, x, blocks, self._config)
        return [x]

    def regions(
        self, features: list[Value], boxes: Value, images: Value, resolution: int
    ) -> Regions:
        pooled = _roi_align(
            self._net, features[0], boxes, images, resolution, 1 / self.STRIDE, self._rules.sampling
        )
        return Regions(_group(self._net, 3, pooled, self._blocks[3], self._config), None)


def _stem(net: Net, images: Value, config: NetworkConfig) -> Value:
    x = net.relu(net.conv("conv0", images, 2, _sides(3, 2, config)))
    before, after = _sides(1, 0, config)
    # What pads a ReLU's output with zeros may as well pad it with nothing: no window is empty.
    pads = [before, before, after, after]
    return net("MaxPool", x, kernel_shape=[3, 3], strides=[2, 2], pads=pads, name="pool0")


def _group(net: Net, index: int, x: Value, blocks: int, config: NetworkConfig) -> Value:
    for block in range(blocks):
        stride = 2 if index > 0 and block == 0 else 1
        x = _bottleneck(net, f"group{index}/block{block}", x, stride, config)
    return x


def _bottleneck(net: Net, name: str, x: Value, stride: int, config: NetworkConfig) -> Value:
    shortcut = x
    if f"{name}/convshortcut" in net:
        cropped = _crop(net, x, stride, config)
        shortcut = net.conv(f"{name}/convshortcut", cropped, stride, (0, 0))
    stride1, stride2 = (stride, 1) if config.stride_1x1 else (1, stride)
    x = net.relu(net.conv(f"{name}/conv1", _crop(net, x, stride1, config), stride1, (0, 0)))
    pads = None if stride2 == 1 else _sides(1, 0, config)
    x = net.relu(net.conv(f"{name}/conv2", x, stride2, pads))
    x = net("Add", net.conv(f"{name}/conv3", x), shortcut, name=f"{name}/add")
    return net.relu(x)


def _crop(net: Net, x: Value, stride: int, config: NetworkConfig) -> Value:
    """Without the last row and column, which an odd map has and a pyramid's never is."""
    if stride == 1 or config.stride > 1:
        return x
    return net("Slice", x, ints(0, 0), ints(-1, -1), ints(2, 3))


def _sides(before: int, after: int, config: NetworkConfig) -> tuple[int, int]:
    return (after, before) if config.tf_pad_mode else (before, after)


def _upsample2(net: Net, x: Value, name: str) -> Value:
    return net(
        "Resize",
        x,
        "",
        np.array([1, 1, 2, 2], np.float32),
        name=name,
        mode="nearest",
        coordinate_transformation_mode="asymmetric",
        nearest_mode="floor",
    )


def _inverse(net: Net, permutation: Value) -> Value:
    """Where each number is in a permutation (R,)."""
    count = net("Squeeze", net.size(permutation, 0), ints(0))
    places = net("Range", np.array(0), count, np.array(1))
    return net("ScatterElements", permutation, permutation, places, axis=0)


def _roi_align(
    net: Net,
    feature: Value,
    boxes: Value,
    images: Value,
    resolution: int,
    scale: float,
    sampling: Sampling,
) -> Value:
    """RoIAlign of `boxes` (R, 4), network coordinates, on a feature map of this `scale`.

    Samples between the border's pixels and its edge see the border, as those do that TensorFlow's
    graph takes from a map with its border mirrored.
    """
    if sampling.shift:
        boxes = net("Add", net("Mul", boxes, number(scale)), number(sampling.shift))
        scale = 1.0
    return net(
        "RoiAlign",
        feature,
        boxes,
        images,
        coordinate_transformation_mode="half_pixel" if sampling.half_pixel else "output_half_pixel",
        mode="avg",
        output_height=resolution,
        output_width=resolution,
        sampling_ratio=sampling.samples,
        spatial_scale=scale,
    )

"""The kinds of body below the heads: a feature pyramid, C4 and C5."""

import itertools
from collections.abc import Sequence
from typing import NamedTuple, Protocol

from maskrcnn_network.architecture import Architecture
from maskrcnn_network.config import NetworkConfig
from maskrcnn_network.graph.frames import LEVELS
from maskrcnn_network.graph.mobilenet import MobileNetLayers
from maskrcnn_network.graph.operations import Map, Operations, Regions, Tensor
from maskrcnn_network.graph.resnet import ResNet
from maskrcnn_network.graph.rules import Rules

STRIDES = [1 << level for level in LEVELS]
"""Strides of the maps of a ResNet's pyramid from which regions are taken."""


class Cell(NamedTuple):
    """The anchors of one pixel of a feature map."""

    sizes: tuple[float, ...]
    stride: int
    """Distance of the map's pixels, in pixels of the image."""


class Body(Protocol):
    """Turns images into feature maps, and boxes into the regions that the heads take."""

    @property
    def box_resolution(self) -> int:
        """Height and width at which regions are pooled for the box head."""

    @property
    def mask_resolution(self) -> int:
        """Height and width at which regions are pooled for the mask head."""

    @property
    def mask_side(self) -> int:
        """Height and width of the regions that the mask head takes."""

    @property
    def cells(self) -> list[Cell]:
        """The anchors of each feature map."""

    def features(self, ops: Operations, images: Map) -> list[Map]:
        """Feature maps of normalised images."""

    def regions(
        self, ops: Operations, features: list[Map], boxes: Tensor, images: Tensor, resolution: int
    ) -> Regions:
        """Regions of `boxes` (R, 4), network coordinates, in images (R,) of the batch."""


def body(architecture: Architecture, config: NetworkConfig, rules: Rules) -> Body:
    """The body of a network with this architecture."""
    kinds: dict[str, type[Pyramid | MobilePyramid | C4 | C5]] = {
        "pyramid": Pyramid,
        "mobilenet": MobilePyramid,
        "c4": C4,
        "c5": C5,
    }
    return kinds[architecture.body](architecture, config, rules)


def pyramid(ops: Operations, maps: list[Map], strides: Sequence[int]) -> list[Map]:
    """A feature pyramid of maps with these strides, and every second pixel of its last map.

    Source: Lin et al. 2017.
    """
    numbered = list(enumerate(maps, start=2))
    laterals = [ops.norm(f"fpn/gn_c{i}", ops.conv(f"fpn/lateral_1x1_c{i}", c)) for i, c in numbered]
    merged = [laterals[-1]]
    steps = [above // below for below, above in itertools.pairwise(strides)]
    for lateral, step in zip(reversed(laterals[:-1]), reversed(steps), strict=True):
        above = merged[0]
        merged.insert(0, lateral + above if step == 1 else ops.add_upsampled(lateral, above))
    outputs = [
        ops.norm(f"fpn/gn_p{i}", ops.conv(f"fpn/posthoc_3x3_p{i}", m))
        for i, m in enumerate(merged, start=2)
    ]
    return [*outputs, ops.subsample(outputs[-1])]


class Pyramid:
    """Five feature maps, P2 to P6; a region is taken from the one that fits its size.

    Source: Lin et al. 2017.
    """

    box_resolution = 7
    mask_resolution = mask_side = 14

    def __init__(self, architecture: Architecture, config: NetworkConfig, rules: Rules) -> None:
        self._resnet = ResNet(architecture, config)
        self._rules = rules
        sizes, strides = config.level_sizes, config.anchor_strides
        self.cells = [Cell(own, stride) for own, stride in zip(sizes, strides, strict=True)]

    def features(self, ops: Operations, images: Map) -> list[Map]:
        maps = [self._resnet.stem(ops, images)]
        for index in range(4):
            maps.append(self._resnet.group(ops, index, maps[-1]))
        return pyramid(ops, maps[1:], STRIDES)

    def regions(
        self, ops: Operations, features: list[Map], boxes: Tensor, images: Tensor, resolution: int
    ) -> Regions:
        maps, rules = features[: len(LEVELS)], self._rules
        epsilons = rules.level_epsilon, rules.octave_epsilon
        levels = rules.frame.levels(ops, boxes, maps, epsilons)
        sampling = rules.sampling
        return rules.frame.sampled(ops, maps, STRIDES, boxes, images, levels, resolution, sampling)


class MobilePyramid:
    """The pyramid of a MobileNet, whose last maps, as torchvision takes them, are equally large.

    A region is taken from the map that fits its size, counted from the first map's stride.
    Source: torchvision/ops/poolers.py.
    """

    box_resolution = 7
    mask_resolution = mask_side = 14

    def __init__(self, architecture: Architecture, config: NetworkConfig, rules: Rules) -> None:
        shape = architecture.mobilenet
        if shape is None:
            raise ValueError(f"{architecture.name} is no MobileNet")
        self._layers = MobileNetLayers(shape)
        self._rules = rules
        self._strides = shape.strides
        strides = (*shape.strides, 2 * shape.strides[-1])
        sizes = config.level_sizes[: len(strides)]
        self.cells = [Cell(own, stride) for own, stride in zip(sizes, strides, strict=True)]

    def features(self, ops: Operations, images: Map) -> list[Map]:
        return pyramid(ops, self._layers.maps(ops, images), self._strides)

    def regions(
        self, ops: Operations, features: list[Map], boxes: Tensor, images: Tensor, resolution: int
    ) -> Regions:
        rules = self._rules
        first, last = (stride.bit_length() - 1 for stride in (self._strides[0], self._strides[-1]))
        count = last - first + 1
        maps, strides = features[:count], self._strides[:count]
        levels = None
        if count > 1:
            epsilons = rules.level_epsilon, rules.octave_epsilon
            levels = rules.frame.levels(ops, boxes, maps, epsilons)
            levels = ops.minimum(ops.maximum(levels - (first - LEVELS[0]), 0), count - 1)
        return rules.frame.sampled(
            ops, maps, strides, boxes, images, levels, resolution, rules.sampling
        )


class C4:
    """One feature map of stride 16; the last ResNet group takes each region and halves it.

    Source: Ren et al. 2015.
    """

    STRIDE = 16
    box_resolution = 14
    mask_resolution = 14
    mask_side = 7

    def __init__(self, architecture: Architecture, config: NetworkConfig, rules: Rules) -> None:
        self._resnet = ResNet(architecture, config)
        self._rules = rules
        self.cells = [Cell(config.cell_sizes, self.STRIDE)]

    def features(self, ops: Operations, images: Map) -> list[Map]:
        x = self._resnet.stem(ops, images)
        for index in range(3):
            x = self._resnet.group(ops, index, x)
        return [x]

    def regions(
        self, ops: Operations, features: list[Map], boxes: Tensor, images: Tensor, resolution: int
    ) -> Regions:
        strides, rules = [self.STRIDE], self._rules
        seen = rules.frame.sampled(
            ops, features, strides, boxes, images, None, resolution, rules.sampling
        )
        return seen._replace(maps=self._resnet.group(ops, 3, seen.maps))


class C5:
    """The map of the whole ResNet, from which the heads take regions as from a pyramid.

    Its last group is usually dilated instead of strided, so that the map's stride is 16.
    Source: Dai et al. 2017, "Deformable Convolutional Networks".
    """

    box_resolution = 7
    mask_resolution = mask_side = 14

    def __init__(self, architecture: Architecture, config: NetworkConfig, rules: Rules) -> None:
        self._resnet = ResNet(architecture, config)
        self._rules = rules
        self._stride = 32 // config.dilation
        self.cells = [Cell(config.cell_sizes, self._stride)]

    def features(self, ops: Operations, images: Map) -> list[Map]:
        x = self._resnet.stem(ops, images)
        for index in range(4):
            x = self._resnet.group(ops, index, x)
        return [x]

    def regions(
        self, ops: Operations, features: list[Map], boxes: Tensor, images: Tensor, resolution: int
    ) -> Regions:
        rules, strides = self._rules, [self._stride]
        return rules.frame.sampled(
            ops, features, strides, boxes, images, None, resolution, rules.sampling
        )

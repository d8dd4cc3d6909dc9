"""The two kinds of body below the heads: a feature pyramid, and C4."""

from typing import NamedTuple, Protocol

from maskrcnn_network.architecture import Architecture
from maskrcnn_network.config import NetworkConfig
from maskrcnn_network.graph.frames import LEVELS
from maskrcnn_network.graph.operations import Map, Operations, Pads, Regions, Tensor
from maskrcnn_network.graph.rules import Rules


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
    kind = C4 if architecture.pyramid is None else Pyramid
    return kind(architecture, config, rules)


class Pyramid:
    """Five feature maps, P2 to P6; a region is taken from the one that fits its size.

    Source: Lin et al. 2017.
    """

    box_resolution = 7
    mask_resolution = mask_side = 14

    def __init__(self, architecture: Architecture, config: NetworkConfig, rules: Rules) -> None:
        self._blocks = architecture.blocks
        self._config = config
        self._rules = rules
        sizes, strides = config.anchor_sizes, config.anchor_strides
        self.cells = [Cell((s,), stride) for s, stride in zip(sizes, strides, strict=True)]

    def features(self, ops: Operations, images: Map) -> list[Map]:
        maps = [_stem(ops, images, self._config)]
        for index, blocks in enumerate(self._blocks):
            maps.append(_group(ops, index, maps[-1], blocks, self._config))
        laterals = [
            ops.norm(f"fpn/gn_c{i}", ops.conv(f"fpn/lateral_1x1_c{i}", c))
            for i, c in enumerate(maps[1:], start=2)
        ]
        merged = [laterals[-1]]
        for lateral in reversed(laterals[:-1]):
            merged.insert(0, lateral + ops.upsample(merged[0]))
        outputs = [
            ops.norm(f"fpn/gn_p{i}", ops.conv(f"fpn/posthoc_3x3_p{i}", m))
            for i, m in enumerate(merged, start=2)
        ]
        return [*outputs, ops.subsample(outputs[-1])]

    def regions(
        self, ops: Operations, features: list[Map], boxes: Tensor, images: Tensor, resolution: int
    ) -> Regions:
        maps, rules = features[: len(LEVELS)], self._rules
        strides = [1 << level for level in LEVELS]
        epsilons = rules.level_epsilon, rules.octave_epsilon
        levels = rules.frame.levels(ops, boxes, maps, epsilons)
        sampling = rules.sampling
        return rules.frame.sampled(ops, maps, strides, boxes, images, levels, resolution, sampling)


class C4:
    """One feature map of stride 16; the last ResNet group takes each region and halves it.

    Source: Ren et al. 2015.
    """

    STRIDE = 16
    box_resolution = 14
    mask_resolution = 14
    mask_side = 7

    def __init__(self, architecture: Architecture, config: NetworkConfig, rules: Rules) -> None:
        self._blocks = architecture.blocks
        self._config = config
        self._rules = rules
        self.cells = [Cell(config.anchor_sizes, self.STRIDE)]

    def features(self, ops: Operations, images: Map) -> list[Map]:
        x = _stem(ops, images, self._config)
        for index, blocks in enumerate(self._blocks[:3]):
            x = _group(ops, index, x, blocks, self._config)
        return [x]

    def regions(
        self, ops: Operations, features: list[Map], boxes: Tensor, images: Tensor, resolution: int
    ) -> Regions:
        strides, rules = [self.STRIDE], self._rules
        seen = rules.frame.sampled(
            ops, features, strides, boxes, images, None, resolution, rules.sampling
        )
        return seen._replace(maps=_group(ops, 3, seen.maps, self._blocks[3], self._config))


def _stem(ops: Operations, images: Map, config: NetworkConfig) -> Map:
    """ResNet with bottleneck blocks (He et al. 2015), padded and strided as TensorPack does it.

    Source: TensorPack, FasterRCNN/modeling/backbone.py.
    """
    x = ops.conv("conv0", images, 2, _sides(3, 2, config), relu=True)
    return ops.max_pool(x, config.pool_pads)


def _group(ops: Operations, index: int, x: Map, blocks: int, config: NetworkConfig) -> Map:
    """Group `index`, 0 to 3, of the ResNet; all but the first halve height and width."""
    for block in range(blocks):
        stride = 2 if index > 0 and block == 0 else 1
        x = _bottleneck(ops, f"group{index}/block{block}", x, stride, config)
    return x


def _bottleneck(ops: Operations, name: str, x: Map, stride: int, config: NetworkConfig) -> Map:
    shortcut = x
    if f"{name}/convshortcut" in ops:
        shortcut = ops.conv(f"{name}/convshortcut", _crop(ops, x, stride, config), stride, (0, 0))
    stride1, stride2 = (stride, 1) if config.stride_1x1 else (1, stride)
    cropped = _crop(ops, x, stride1, config)
    x = ops.conv(f"{name}/conv1", cropped, stride1, (0, 0), relu=True)
    pads = None if stride2 == 1 else _sides(1, 0, config)
    x = ops.conv(f"{name}/conv2", x, stride2, pads, relu=True)
    return ops.conv(f"{name}/conv3", x, add=shortcut, relu=True)


def _crop(ops: Operations, x: Map, stride: int, config: NetworkConfig) -> Map:
    """Crop the last row and column before striding in C4, whose maps may have odd sides."""
    return x if stride == 1 or config.stride > 1 else ops.crop(x)


def _sides(before: int, after: int, config: NetworkConfig) -> Pads:
    """Zeros on the top and left (`before`) and on the bottom and right (`after`), "AlignPadding".

    Pixel (0, 0) of each feature map is then centred on pixel (0, 0) of the image. Networks with
    `TF_PAD_MODE` swap both.
    """
    return (after, before) if config.tf_pad_mode else (before, after)

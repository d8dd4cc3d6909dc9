"""What kind of Mask R-CNN a checkpoint holds, read off its variables' names and shapes."""

import itertools
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

Shape = tuple[int, ...]
Shapes = Mapping[str, Shape]

RESNETS: dict[tuple[int, ...], str] = {
    (3, 4, 6, 3): "resnet50",
    (3, 4, 23, 3): "resnet101",
    (3, 8, 36, 3): "resnet152",
}
NETWORK = re.compile(r"(conv0|group\d|fpn|rpn|fastrcnn|maskrcnn|cascade_rcnn\w*)/")
"""Pattern of the network's scopes."""
SLOT = re.compile(r"/(Momentum|Adam|Adam_1|AccumGrad\w*|ExponentialMovingAverage)$")
"""Pattern of optimizer variables, which are inside the network's scopes."""
CASCADE = tuple(f"cascade_rcnn_stage{i}" for i in (1, 2, 3))
GRID = 7
"""Height and width of the regions that fully connected layers take."""


Norm: TypeAlias = Literal["none", "batch", "group"]


@dataclass(frozen=True)
class Convs:
    """The 3 x 3 convolutions that a part of the network begins with."""

    count: int
    width: int
    norm: Norm
    """Normalisation after each convolution."""


@dataclass(frozen=True)
class Architecture:
    """The numbers that shape the network."""

    blocks: tuple[int, ...]
    """Bottleneck blocks of each of the four ResNet groups."""
    stem: int
    """Channels of conv0."""
    widths: tuple[tuple[int, int], ...]
    """Channels inside a block and channels out of it, for each group."""
    group_norm: bool
    """Whether the backbone uses group instead of batch normalisation."""
    pyramid: int | None
    """Channels of the feature pyramid. None: a C4 network, which has no pyramid."""
    pyramid_norm: Norm
    rpn: Convs
    """Convolutions of the RPN, which are not normalised."""
    anchors: int
    """Anchors per cell of a feature map."""
    cascade: bool
    """Whether three box heads refine each other's boxes."""
    box_convs: Convs
    fc: tuple[tuple[str, int], ...]
    """Names and units of the box head's fully connected layers."""
    classes: int
    """Categories without the background."""
    has_masks: bool
    mask_convs: Convs
    mask: int
    """Channels of the mask head's last layer."""
    fc_norm: Norm = "none"
    """Normalisation after each fully connected layer."""
    biased: bool = False
    """Whether layers with batch normalisation have a bias, too."""

    @property
    def name(self) -> str:
        """`resnet50` and so on, or the block counts of a ResNet without a name."""
        return RESNETS.get(self.blocks, "resnet-" + "-".join(map(str, self.blocks)))

    @property
    def description(self) -> str:
        """The architecture in words."""
        parts = [self.name]
        parts.append("C4" if self.pyramid is None else f"FPN of {self.pyramid} channels")
        if self.group_norm or self.pyramid_norm == "group":
            parts.append("group normalisation")
        if self.cascade:
            parts.append("cascade of three box heads")
        if self.box_convs.count:
            parts.append(f"box head of {self.box_convs.count} convolutions")
        return ", ".join(parts)

    @property
    def heads(self) -> tuple[tuple[str, str], ...]:
        """Scopes of the layers and of the outputs of each box head."""
        if self.cascade:
            return tuple((f"{stage}/head", f"{stage}/outputs") for stage in CASCADE)
        return (("fastrcnn", "fastrcnn" if self.pyramid is None else "fastrcnn/outputs"),)

    @property
    def flattening(self) -> list[str]:
        """Kernels of the layers that take flattened regions, whose row order matters."""
        return [f"{head}/{self.fc[0][0]}/W" for head, _ in self.heads if self.fc]

    def variables(self) -> dict[str, Shape]:
        """Shape of every variable of such a network."""
        return dict(self._variables())

    def _variables(self) -> Iterator[tuple[str, Shape]]:
        yield from self._backbone()
        if self.pyramid is None:
            features = self.widths[2][1]
        else:
            features = self.pyramid
            yield from self._fpn(self.pyramid)
        yield from self._convs("rpn", "conv", features, self.rpn)
        yield from _biased("rpn/class", (1, 1, self.rpn.width, self.anchors))
        yield from _biased("rpn/box", (1, 1, self.rpn.width, 4 * self.anchors))
        regions = self.widths[3][1] if self.pyramid is None else self.pyramid
        for head, outputs in self.heads:
            yield from self._box_head(head, outputs, regions)
        if self.has_masks:
            yield from self._convs("maskrcnn", "fcn", regions, self.mask_convs)
            last = self.mask_convs.width if self.mask_convs.count else regions
            yield "maskrcnn/deconv/W", (2, 2, self.mask, last)
            yield "maskrcnn/deconv/b", (self.mask,)
            yield from _biased("maskrcnn/conv", (1, 1, self.mask, self.classes))

    def _backbone(self) -> Iterator[tuple[str, Shape]]:
        norm = _group_norm if self.group_norm else self._batch_norm
        yield from norm("conv0", (7, 7, 3, self.stem))
        previous = self.stem
        for group, ((inner, outer), count) in enumerate(zip(self.widths, self.blocks, strict=True)):
            for i in range(count):
                block = f"group{group}/block{i}"
                yield from norm(f"{block}/conv1", (1, 1, previous, inner))
                yield from norm(f"{block}/conv2", (3, 3, inner, inner))
                yield from norm(f"{block}/conv3", (1, 1, inner, outer))
                if previous != outer:
                    yield from norm(f"{block}/convshortcut", (1, 1, previous, outer))
                previous = outer

    def _fpn(self, channels: int) -> Iterator[tuple[str, Shape]]:
        for level, (_, outer) in enumerate(self.widths, start=2):
            layer = self._batch_norm if self.pyramid_norm == "batch" else _biased
            yield from layer(f"fpn/lateral_1x1_c{level}", (1, 1, outer, channels))
            yield from layer(f"fpn/posthoc_3x3_p{level}", (3, 3, channels, channels))
            if self.pyramid_norm == "group":
                yield from _scaled(f"fpn/gn_c{level}", channels)
                yield from _scaled(f"fpn/gn_p{level}", channels)

    def _box_head(self, head: str, outputs: str, regions: int) -> Iterator[tuple[str, Shape]]:
        yield from self._convs(head, "conv", regions, self.box_convs)
        previous = (self.box_convs.width if self.box_convs.count else regions) * GRID**2
        layer = self._batch_norm if self.fc_norm == "batch" else _biased
        for name, units in self.fc:
            yield from layer(f"{head}/{name}", (previous, units))
            previous = units
        previous = previous if self.fc else regions
        boxes = 1 if self.cascade else self.classes + 1
        yield from _biased(f"{outputs}/class", (previous, self.classes + 1))
        yield from _biased(f"{outputs}/box", (previous, 4 * boxes))

    def _convs(
        self, scope: str, kind: str, channels: int, convs: Convs
    ) -> Iterator[tuple[str, Shape]]:
        for i in range(convs.count):
            layer = self._batch_norm if convs.norm == "batch" else _biased
            yield from layer(f"{scope}/{kind}{i}", (3, 3, channels, convs.width))
            if convs.norm == "group":
                yield from _scaled(f"{scope}/gn{i}", convs.width)
            channels = convs.width

    def _batch_norm(self, name: str, kernel: Shape) -> Iterator[tuple[str, Shape]]:
        yield from _biased(name, kernel) if self.biased else iter([(f"{name}/W", kernel)])
        yield from _scaled(f"{name}/bn", kernel[-1])
        for leaf in ("mean/EMA", "variance/EMA"):
            yield f"{name}/bn/{leaf}", (kernel[-1],)


def in_network(variable: str) -> bool:
    """Whether the network computes with this variable, not only its training."""
    return NETWORK.match(variable) is not None and SLOT.search(variable) is None


def read_off(shapes: Shapes) -> Architecture:
    """The architecture closest to `shapes`."""

    def out(name: str, default: int) -> int:
        return (shapes.get(name) or (default,))[-1]

    def convs(scope: str, kind: str) -> Convs:
        count = _count(shapes, f"{scope}/{kind}{{}}/W")
        return Convs(
            count,
            out(f"{scope}/{kind}0/W", 256),
            _norm(shapes, f"{scope}/gn0", f"{scope}/{kind}0"),
        )

    cascade = any(name.startswith("cascade_rcnn") for name in shapes)
    c4 = not any(name.startswith("fpn/") for name in shapes)
    head = f"{CASCADE[0]}/head" if cascade else "fastrcnn"
    outputs = f"{CASCADE[0]}/outputs" if cascade else ("fastrcnn" if c4 else "fastrcnn/outputs")
    box_convs = convs(head, "conv")
    fc = () if c4 else (("fc",) if box_convs.count else ("fc6", "fc7"))
    return Architecture(
        blocks=tuple(_count(shapes, f"group{g}/block{{}}/conv1/W") for g in range(4)),
        stem=out("conv0/W", 64),
        widths=tuple(
            (
                out(f"group{g}/block0/conv1/W", 64 << g),
                out(f"group{g}/block0/conv3/W", 256 << g),
            )
            for g in range(4)
        ),
        group_norm="conv0/gn/gamma" in shapes,
        pyramid=None if c4 else out("fpn/lateral_1x1_c2/W", 256),
        pyramid_norm=_norm(shapes, "fpn/gn_c2", "fpn/lateral_1x1_c2"),
        rpn=Convs(
            max(1, _count(shapes, "rpn/conv{}/W")), out("rpn/conv0/W", 1024 if c4 else 256), "none"
        ),
        anchors=out("rpn/class/W", 15 if c4 else 3),
        cascade=cascade,
        box_convs=box_convs,
        fc=tuple((name, out(f"{head}/{name}/W", 1024)) for name in fc),
        classes=max(1, out(f"{outputs}/class/W", 81) - 1),
        has_masks=any(name.startswith("maskrcnn/") for name in shapes),
        mask_convs=convs("maskrcnn", "fcn"),
        mask=out("maskrcnn/deconv/b", 256),
        fc_norm=_norm(shapes, f"{head}/gn", f"{head}/fc6"),
        biased="conv0/b" in shapes,
    )


def _norm(shapes: Shapes, group: str, layer: str) -> Norm:
    """The kind of normalisation, from where its variables are."""
    if f"{group}/gamma" in shapes:
        return "group"
    return "batch" if f"{layer}/bn/gamma" in shapes else "none"


def _group_norm(name: str, kernel: Shape) -> Iterator[tuple[str, Shape]]:
    yield f"{name}/W", kernel
    yield from _scaled(f"{name}/gn", kernel[-1])


def _scaled(name: str, channels: int) -> Iterator[tuple[str, Shape]]:
    yield f"{name}/gamma", (channels,)
    yield f"{name}/beta", (channels,)


def _biased(name: str, kernel: Shape) -> Iterator[tuple[str, Shape]]:
    yield f"{name}/W", kernel
    yield f"{name}/b", (kernel[-1],)


def _count(shapes: Shapes, name: str) -> int:
    """Number of names in `shapes`, counted from 0; `{}` in `name` stands for the index."""
    return next(i for i in itertools.count() if name.format(i) not in shapes)

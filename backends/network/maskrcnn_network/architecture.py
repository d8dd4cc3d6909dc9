"""What kind of Mask R-CNN a checkpoint holds, read off its variables' names and shapes."""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal, TypeAlias

from maskrcnn_network.mobilenet import MobileNet, read_mobilenet
from maskrcnn_network.shapes import Shape, Shapes, counted

RESNETS: dict[tuple[int, ...], str] = {
    (3, 4, 6, 3): "resnet50",
    (3, 4, 23, 3): "resnet101",
    (3, 8, 36, 3): "resnet152",
}
"""Names of ResNets by the blocks of each group."""
NETWORK = re.compile(
    r"(conv0|conv_last|group\d|inverted\d+|fpn|rpn|fastrcnn|maskrcnn|cascade_rcnn\w*)/"
)
"""Pattern of the network's scopes."""
SLOT = re.compile(r"/(Momentum|Adam|Adam_1|AccumGrad\w*|ExponentialMovingAverage)$")
"""Pattern of optimizer variables, which are inside the network's scopes."""
CASCADE = tuple(f"cascade_rcnn_stage{i}" for i in (1, 2, 3))
FULLY_CONNECTED = ("fc", "fc6", "fc7")
"""Names of fully connected layers: of a head that begins with convolutions, and of others."""
GRID = 7
"""Height and width of the regions that fully connected layers take."""


Norm: TypeAlias = Literal["none", "batch", "group", "group first"]
"""Normalisation of a layer. `group` comes after the ReLU of a layer with a bias, as in TensorPack;
`group first` before the ReLU of a layer without."""


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
    pyramid_biased: bool = True
    """Whether layers of a pyramid with the norm `group` have a bias, too."""
    groups: int = 1
    """Groups of channels in the 3 x 3 convolutions of the backbone. More than 1: a ResNeXt."""
    outputs: str = "fastrcnn/outputs"
    """Scope of a single box head's outputs."""
    shared_boxes: bool = False
    """Whether a region has one box for all classes."""
    shared_masks: bool = False
    """Whether a region has one mask for all classes."""
    cascaded_masks: bool = False
    """Whether a cascade has a mask head for each of its box heads."""
    mobilenet: MobileNet | None = None
    """The backbone if it is no ResNet."""

    @property
    def name(self) -> str:
        """`resnet50`, `resnext101_32x8d` and so on; with block counts if they have no name."""
        if self.mobilenet is not None:
            return self.mobilenet.name
        name = RESNETS.get(self.blocks, "resnet-" + "-".join(map(str, self.blocks)))
        if self.groups == 1:
            return name
        width = self.widths[0][0] // self.groups
        return f"{name.replace('resnet', 'resnext')}_{self.groups}x{width}d"

    @property
    def body(self) -> Literal["pyramid", "mobilenet", "c4", "c5"]:
        """The kind of feature maps: several, or the third or fourth group's."""
        if self.mobilenet is not None:
            return "mobilenet"
        if self.pyramid is not None:
            return "pyramid"
        return "c5" if self.fc else "c4"

    @property
    def laterals(self) -> tuple[int, ...]:
        """Channels of the maps that the pyramid takes."""
        taken = tuple(outer for _, outer in self.widths)
        return taken if self.mobilenet is None else self.mobilenet.out

    @property
    def levels(self) -> int:
        """Number of the pyramid's maps: one more than it takes. 1 without a pyramid."""
        return 1 if self.pyramid is None else len(self.laterals) + 1

    @property
    def features(self) -> int:
        """Channels of the feature maps."""
        return self.pyramid or self.widths[2 if self.body == "c4" else 3][1]

    @property
    def description(self) -> str:
        """The architecture in words."""
        parts = [self.name]
        is_pyramid = self.pyramid is not None
        parts.append(f"FPN of {self.pyramid} channels" if is_pyramid else self.body.upper())
        if self.group_norm or self.pyramid_norm.startswith("group"):
            parts.append("group normalisation")
        if self.cascade:
            parts.append("cascade of three box heads")
        if self.box_convs.count:
            parts.append(f"box head of {self.box_convs.count} convolutions")
        if self.shared_boxes and not self.cascade:
            parts.append("one box for all classes")
        if self.shared_masks:
            parts.append("one mask for all classes")
        if self.cascaded_masks:
            parts.append("three mask heads")
        return ", ".join(parts)

    @property
    def heads(self) -> tuple[tuple[str, str], ...]:
        """Scopes of the layers and of the outputs of each box head."""
        if self.cascade:
            return tuple((f"{stage}/head", f"{stage}/outputs") for stage in CASCADE)
        return (("fastrcnn", self.outputs),)

    @property
    def mask_heads(self) -> tuple[str, ...]:
        """Scopes of the mask heads."""
        if not self.has_masks:
            return ()
        return tuple(f"{s}/mask" for s in CASCADE) if self.cascaded_masks else ("maskrcnn",)

    @property
    def flattening(self) -> list[str]:
        """Kernels of the layers that take flattened regions, whose row order matters."""
        return [f"{head}/{self.fc[0][0]}/W" for head, _ in self.heads if self.fc]

    def variables(self) -> dict[str, Shape]:
        """Shape of every variable of such a network."""
        return dict(self._variables())

    def _variables(self) -> Iterator[tuple[str, Shape]]:
        yield from self._backbone()
        if self.pyramid is not None:
            yield from self._fpn(self.pyramid)
        yield from self._convs("rpn", "conv", self.features, self.rpn)
        yield from _biased("rpn/class", (1, 1, self.rpn.width, self.anchors))
        yield from _biased("rpn/box", (1, 1, self.rpn.width, 4 * self.anchors))
        regions = self.widths[3][1] if self.pyramid is None else self.pyramid
        for head, outputs in self.heads:
            yield from self._box_head(head, outputs, regions)
        for head in self.mask_heads:
            yield from self._convs(head, "fcn", regions, self.mask_convs)
            last = self.mask_convs.width if self.mask_convs.count else regions
            yield f"{head}/deconv/W", (2, 2, self.mask, last)
            yield f"{head}/deconv/b", (self.mask,)
            masks = 1 if self.shared_masks else self.classes
            yield from _biased(f"{head}/conv", (1, 1, self.mask, masks))

    def _backbone(self) -> Iterator[tuple[str, Shape]]:
        norm = _group_norm if self.group_norm else self._batch_norm
        if self.mobilenet is not None:
            for name, kernel in self.mobilenet.layers():
                yield from norm(name, kernel)
            for name, kernel in self.mobilenet.excitations():
                yield from _biased(name, kernel)
            return
        yield from norm("conv0", (7, 7, 3, self.stem))
        previous = self.stem
        for group, ((inner, outer), count) in enumerate(zip(self.widths, self.blocks, strict=True)):
            for i in range(count):
                block = f"group{group}/block{i}"
                yield from norm(f"{block}/conv1", (1, 1, previous, inner))
                yield from norm(f"{block}/conv2", (3, 3, inner // self.groups, inner))
                yield from norm(f"{block}/conv3", (1, 1, inner, outer))
                if previous != outer:
                    yield from norm(f"{block}/convshortcut", (1, 1, previous, outer))
                previous = outer

    def _fpn(self, channels: int) -> Iterator[tuple[str, Shape]]:
        layer = self._layer(self.pyramid_norm)
        if self.pyramid_norm == "group" and not self.pyramid_biased:
            layer = _unbiased
        for level, outer in enumerate(self.laterals, start=2):
            yield from layer(f"fpn/lateral_1x1_c{level}", (1, 1, outer, channels))
            yield from layer(f"fpn/posthoc_3x3_p{level}", (3, 3, channels, channels))
            if self.pyramid_norm == "group":
                yield from _scaled(f"fpn/gn_c{level}", channels)
                yield from _scaled(f"fpn/gn_p{level}", channels)

    def _box_head(self, head: str, outputs: str, regions: int) -> Iterator[tuple[str, Shape]]:
        yield from self._convs(head, "conv", regions, self.box_convs)
        previous = (self.box_convs.width if self.box_convs.count else regions) * GRID**2
        layer = self._layer(self.fc_norm)
        for name, units in self.fc:
            yield from layer(f"{head}/{name}", (previous, units))
            previous = units
        previous = previous if self.fc else regions
        boxes = 1 if self.shared_boxes else self.classes + 1
        yield from _biased(f"{outputs}/class", (previous, self.classes + 1))
        yield from _biased(f"{outputs}/box", (previous, 4 * boxes))

    def _convs(
        self, scope: str, kind: str, channels: int, convs: Convs
    ) -> Iterator[tuple[str, Shape]]:
        for i in range(convs.count):
            layer = self._layer(convs.norm)
            yield from layer(f"{scope}/{kind}{i}", (3, 3, channels, convs.width))
            if convs.norm == "group":
                yield from _scaled(f"{scope}/gn{i}", convs.width)
            channels = convs.width

    def _layer(self, norm: Norm) -> Callable[[str, Shape], Iterator[tuple[str, Shape]]]:
        """The variables of a layer with this normalisation by its name and kernel; those of `group`
        are elsewhere."""
        return {"batch": self._batch_norm, "group first": _group_norm}.get(norm, _biased)

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
        count = counted(shapes, f"{scope}/{kind}{{}}/W")
        return Convs(
            count,
            out(f"{scope}/{kind}0/W", 256),
            _norm(shapes, f"{scope}/gn0", f"{scope}/{kind}0"),
        )

    cascade = any(name.startswith("cascade_rcnn") for name in shapes)
    has_pyramid = any(name.startswith("fpn/") for name in shapes)
    head = f"{CASCADE[0]}/head" if cascade else "fastrcnn"
    cascaded_masks = any(name.startswith(f"{CASCADE[0]}/mask/") for name in shapes)
    mask_head = f"{CASCADE[0]}/mask" if cascaded_masks else "maskrcnn"
    box_convs = convs(head, "conv")
    fc = _fully_connected(shapes, head, has_pyramid, box_convs.count > 0)
    is_c4 = not (has_pyramid or fc)
    scope = "fastrcnn/outputs"
    if is_c4 and f"{scope}/class/W" not in shapes:
        scope = "fastrcnn"
    outputs = f"{CASCADE[0]}/outputs" if cascade else scope
    classes = max(1, out(f"{outputs}/class/W", 81) - 1)
    inner = out("group0/block0/conv1/W", 64)
    return Architecture(
        blocks=tuple(counted(shapes, f"group{g}/block{{}}/conv1/W") for g in range(4)),
        stem=out("conv0/W", 64),
        widths=tuple(
            (
                out(f"group{g}/block0/conv1/W", 64 << g),
                out(f"group{g}/block0/conv3/W", 256 << g),
            )
            for g in range(4)
        ),
        group_norm="conv0/gn/gamma" in shapes,
        pyramid=out("fpn/lateral_1x1_c2/W", 256) if has_pyramid else None,
        pyramid_norm=_norm(shapes, "fpn/gn_c2", "fpn/lateral_1x1_c2"),
        rpn=Convs(
            max(1, counted(shapes, "rpn/conv{}/W")),
            out("rpn/conv0/W", 256 if has_pyramid else 1024),
            "none",
        ),
        anchors=out("rpn/class/W", 3 if has_pyramid else 15),
        cascade=cascade,
        box_convs=box_convs,
        fc=tuple((name, out(f"{head}/{name}/W", 1024)) for name in fc),
        classes=classes,
        has_masks=any(name.startswith(f"{mask_head}/") for name in shapes),
        mask_convs=convs(mask_head, "fcn"),
        mask=out(f"{mask_head}/deconv/b", 256),
        fc_norm=_norm(shapes, f"{head}/gn", f"{head}/fc6"),
        biased="conv0/b" in shapes,
        pyramid_biased="fpn/gn_c2/gamma" not in shapes or "fpn/lateral_1x1_c2/b" in shapes,
        groups=_groups(shapes, inner),
        outputs=scope,
        shared_boxes=cascade or out(f"{outputs}/box/W", 0) == 4,
        shared_masks=classes > 1 and out(f"{mask_head}/conv/W", 0) == 1,
        cascaded_masks=cascaded_masks,
        mobilenet=read_mobilenet(shapes),
    )


def _fully_connected(
    shapes: Shapes, head: str, has_pyramid: bool, has_convs: bool
) -> tuple[str, ...]:
    """Names of a box head's fully connected layers."""
    found = tuple(name for name in FULLY_CONNECTED if f"{head}/{name}/W" in shapes)
    if has_convs:
        return found or ("fc",)
    return ("fc6", "fc7") if found or has_pyramid else ()


def _groups(shapes: Shapes, inner: int) -> int:
    """Groups of the backbone's 3 x 3 convolutions, the first of which has `inner` channels."""
    kernel = shapes.get("group0/block0/conv2/W", ())
    within = kernel[2] if len(kernel) == 4 else inner
    return max(1, inner // max(1, within))


def _norm(shapes: Shapes, group: str, layer: str) -> Norm:
    """The kind of normalisation, from where its variables are."""
    if f"{group}/gamma" in shapes:
        return "group"
    if f"{layer}/gn/gamma" in shapes:
        return "group first"
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


def _unbiased(name: str, kernel: Shape) -> Iterator[tuple[str, Shape]]:
    yield f"{name}/W", kernel

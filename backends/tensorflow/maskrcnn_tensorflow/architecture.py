"""What kind of Mask R-CNN a checkpoint holds, read off its variables' names and shapes."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

Shape = tuple[int, ...]
Shapes = Mapping[str, Shape]

RESNETS: dict[tuple[int, ...], str] = {
    (3, 4, 6, 3): "resnet50",
    (3, 4, 23, 3): "resnet101",
    (3, 8, 36, 3): "resnet152",
}
NETWORK = re.compile(r"(conv0|group\d|fpn|rpn|fastrcnn|maskrcnn|cascade_rcnn\w*)/")
"""Scopes of the network; variables outside (the optimizer's, the step) do not matter."""
SLOT = re.compile(r"/(Momentum|Adam|Adam_1|AccumGrad\w*|ExponentialMovingAverage)$")
"""What optimizers keep beside a variable, inside the network's scopes."""


@dataclass(frozen=True)
class Architecture:
    """The numbers that shape the network."""

    blocks: tuple[int, ...]
    """Bottleneck blocks of each of the four ResNet groups."""
    stem: int
    """Channels of conv0."""
    widths: tuple[tuple[int, int], ...]
    """Of each group: channels inside a block, and channels it puts out."""
    pyramid: int
    """Channels of the feature pyramid."""
    rpn: int
    """Channels of the RPN's hidden layer."""
    anchors: int
    """Anchors per cell of a level."""
    fc: tuple[int, int]
    """Units of fc6 and fc7."""
    classes: int
    """Categories without the background."""
    mask_convs: int
    """3 x 3 convolutions of the mask head; 0: there is no mask head."""
    mask: int
    """Channels of the mask head."""

    @property
    def name(self) -> str:
        """`resnet50` and so on, or the block counts of a ResNet without a name."""
        return RESNETS.get(self.blocks, "resnet-" + "-".join(map(str, self.blocks)))

    @property
    def has_masks(self) -> bool:
        return self.mask_convs > 0

    def variables(self) -> dict[str, Shape]:
        """Every variable that such a network has, with its shape."""
        return dict(self._variables())

    def _variables(self) -> Iterator[tuple[str, Shape]]:
        yield from _conv_bn("conv0", (7, 7, 3, self.stem))
        previous = self.stem
        for group, ((inner, outer), count) in enumerate(zip(self.widths, self.blocks, strict=True)):
            for i in range(count):
                block = f"group{group}/block{i}"
                yield from _conv_bn(f"{block}/conv1", (1, 1, previous, inner))
                yield from _conv_bn(f"{block}/conv2", (3, 3, inner, inner))
                yield from _conv_bn(f"{block}/conv3", (1, 1, inner, outer))
                if previous != outer:
                    yield from _conv_bn(f"{block}/convshortcut", (1, 1, previous, outer))
                previous = outer
        for level, (_, outer) in enumerate(self.widths, start=2):
            yield from _biased(f"fpn/lateral_1x1_c{level}", (1, 1, outer, self.pyramid))
            yield from _biased(f"fpn/posthoc_3x3_p{level}", (3, 3, self.pyramid, self.pyramid))
        yield from _biased("rpn/conv0", (3, 3, self.pyramid, self.rpn))
        yield from _biased("rpn/class", (1, 1, self.rpn, self.anchors))
        yield from _biased("rpn/box", (1, 1, self.rpn, 4 * self.anchors))
        fc6, fc7 = self.fc
        yield from _biased("fastrcnn/fc6", (self.pyramid * 7 * 7, fc6))
        yield from _biased("fastrcnn/fc7", (fc6, fc7))
        yield from _biased("fastrcnn/outputs/class", (fc7, self.classes + 1))
        yield from _biased("fastrcnn/outputs/box", (fc7, 4 * (self.classes + 1)))
        if self.has_masks:
            previous = self.pyramid
            for i in range(self.mask_convs):
                yield from _biased(f"maskrcnn/fcn{i}", (3, 3, previous, self.mask))
                previous = self.mask
            yield "maskrcnn/deconv/W", (2, 2, self.mask, self.mask)
            yield "maskrcnn/deconv/b", (self.mask,)
            yield from _biased("maskrcnn/conv", (1, 1, self.mask, self.classes))


def read_off(shapes: Shapes) -> Architecture | None:
    """The architecture that `shapes` come nearest to; None if nothing looks like Mask R-CNN."""
    if not any(NETWORK.match(name) for name in shapes):
        return None

    def out(name: str, default: int) -> int:
        return (shapes.get(name) or (default,))[-1]

    blocks = tuple(_count(shapes, rf"group{g}/block(\d+)/conv1/W") for g in range(4))
    widths = tuple(
        (
            out(f"group{g}/block0/conv1/W", 64 << g),
            out(f"group{g}/block0/conv3/W", 256 << g),
        )
        for g in range(4)
    )
    return Architecture(
        blocks=blocks,
        stem=out("conv0/W", 64),
        widths=widths,
        pyramid=out("fpn/lateral_1x1_c2/W", 256),
        rpn=out("rpn/conv0/W", 256),
        anchors=out("rpn/class/W", 3),
        fc=(out("fastrcnn/fc6/W", 1024), out("fastrcnn/fc7/W", 1024)),
        classes=max(1, out("fastrcnn/outputs/class/W", 81) - 1),
        mask_convs=_count(shapes, r"maskrcnn/fcn(\d+)/W"),
        mask=out("maskrcnn/fcn0/W", 256),
    )


def problems(shapes: Shapes, architecture: Architecture) -> list[str]:
    """What keeps `shapes` from being this architecture: missing, misshapen, surplus variables."""
    expected = architecture.variables()
    missing = [name for name in expected if name not in shapes]
    misshapen = [
        f"{name} is {shapes[name]}, should be {shape}"
        for name, shape in expected.items()
        if name in shapes and shapes[name] != shape
    ]
    surplus = [
        name
        for name in shapes
        if NETWORK.match(name) and name not in expected and not SLOT.search(name)
    ]
    found = []
    if missing:
        found.append(f"{_number(missing)} missing: {_some(missing)}")
    if misshapen:
        found.append(f"{_number(misshapen)} of another shape: {_some(misshapen)}")
    if surplus:
        found.append(f"{_number(surplus)} that such a network does not have: {_some(surplus)}")
    return found


def _conv_bn(name: str, kernel: Shape) -> Iterator[tuple[str, Shape]]:
    yield f"{name}/W", kernel
    for leaf in ("gamma", "beta", "mean/EMA", "variance/EMA"):
        yield f"{name}/bn/{leaf}", (kernel[-1],)


def _biased(name: str, kernel: Shape) -> Iterator[tuple[str, Shape]]:
    yield f"{name}/W", kernel
    yield f"{name}/b", (kernel[-1],)


def _count(shapes: Shapes, pattern: str) -> int:
    """How many there are, by the largest index that `pattern` catches."""
    matches = (re.fullmatch(pattern, name) for name in shapes)
    return max((int(match[1]) + 1 for match in matches if match), default=0)


def _number(names: list[str]) -> str:
    return "1 variable" if len(names) == 1 else f"{len(names)} variables"


def _some(names: list[str]) -> str:
    return ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")

"""The shape of MobileNets: what their weights show, and what only their name tells.

Sources: Sandler et al. 2018 (V2), Howard et al. 2019 (V3); torchvision/models/mobilenetv2.py and
mobilenetv3.py.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple, TypeAlias

from maskrcnn_network.shapes import Shape, Shapes, counted

Activation: TypeAlias = Literal["relu", "relu6", "hard_swish"]
BLOCK = "inverted"
"""Name of inverted residual blocks, which are numbered from 1."""
LAST = "conv_last"
"""Name of the last layer, a 1 x 1 convolution."""

MIN_STRIDE = 4
"""Minimum stride of a map that a pyramid takes."""


class Plan(NamedTuple):
    """What only the name of a MobileNet tells of one of its blocks."""

    kernel: int
    """Height and width of the depthwise convolution."""
    excited: bool
    """Whether the block weighs its channels (squeeze and excitation)."""
    activation: Activation
    stride: int


def _plans(activation: Activation, *blocks: tuple[int, bool, int, int]) -> tuple[Plan, ...]:
    """Plans from kernel, excitation, stride, and number of such blocks."""
    return tuple(Plan(k, e, activation, s) for k, e, s, count in blocks for _ in range(count))


PLANS: Mapping[str, tuple[Activation, tuple[Plan, ...]]] = {
    "mobilenet_v2": (
        "relu6",
        _plans(
            "relu6",
            *((3, False, 1, 1), (3, False, 2, 1), (3, False, 1, 1), (3, False, 2, 1)),
            *((3, False, 1, 2), (3, False, 2, 1), (3, False, 1, 6), (3, False, 2, 1)),
            (3, False, 1, 3),
        ),
    ),
    "mobilenet_v3_large": (
        "hard_swish",
        _plans("relu", (3, False, 1, 1), (3, False, 2, 1), (3, False, 1, 1))
        + _plans("relu", (5, True, 2, 1), (5, True, 1, 2))
        + _plans("hard_swish", (3, False, 2, 1), (3, False, 1, 3), (3, True, 1, 2))
        + _plans("hard_swish", (5, True, 2, 1), (5, True, 1, 2)),
    ),
    "mobilenet_v3_small": (
        "hard_swish",
        _plans("relu", (3, True, 2, 1), (3, False, 2, 1), (3, False, 1, 1))
        + _plans("hard_swish", (5, True, 2, 1), (5, True, 1, 4), (5, True, 2, 1), (5, True, 1, 2)),
    ),
}
"""Activation of the first and last layer, and the blocks, by the network's name."""


class Widths(NamedTuple):
    """Channels in a block: after its expansion, its squeeze (0: it has none), and out of it."""

    expanded: int
    squeezed: int
    out: int


@dataclass(frozen=True)
class MobileNet:
    """A backbone of inverted residual blocks."""

    name: str
    """One of `PLANS`."""
    stem: int
    """Channels of the first layer."""
    widths: tuple[Widths, ...]
    """Channels of each block."""
    last: int
    """Channels of the last layer. 0: the last block that the pyramid takes is the network's end."""
    returned: tuple[int, ...]
    """Indices of the layers that the pyramid takes, from 0, the first layer. The last is one more
    than the number of blocks."""

    @property
    def plans(self) -> tuple[Plan, ...]:
        """The plan of each block."""
        return PLANS[self.name][1][: len(self.widths)]

    @property
    def activation(self) -> Activation:
        """The activation of the first and the last layer."""
        return PLANS[self.name][0]

    @property
    def out(self) -> tuple[int, ...]:
        """Channels out of each layer that the pyramid takes."""
        every = (self.stem, *(widths.out for widths in self.widths), self.last)
        return tuple(every[i] for i in self.returned)

    @property
    def strides(self) -> tuple[int, ...]:
        """Distance of the pixels of each map that the pyramid takes, in pixels of the image."""
        return tuple(_strides(self.plans)[i] for i in self.returned)

    def layers(self) -> Iterator[tuple[str, Shape]]:
        """Name and kernel of each convolution, all of which have a batch norm."""
        yield "conv0", (3, 3, 3, self.stem)
        previous = self.stem
        for i, (plan, width) in enumerate(zip(self.plans, self.widths, strict=True), start=1):
            block = f"{BLOCK}{i}"
            if width.expanded != previous:
                yield f"{block}/expand", (1, 1, previous, width.expanded)
            yield f"{block}/depthwise", (plan.kernel, plan.kernel, 1, width.expanded)
            yield f"{block}/project", (1, 1, width.expanded, width.out)
            previous = width.out
        if self.last:
            yield LAST, (1, 1, previous, self.last)

    def excitations(self) -> Iterator[tuple[str, Shape]]:
        """Name and kernel of each fully connected layer of the squeezes."""
        for i, (plan, width) in enumerate(zip(self.plans, self.widths, strict=True), start=1):
            if plan.excited:
                yield f"{BLOCK}{i}/squeeze", (width.expanded, width.squeezed)
                yield f"{BLOCK}{i}/excite", (width.squeezed, width.expanded)


def read_mobilenet(shapes: Shapes) -> MobileNet | None:
    """The MobileNet closest to `shapes`. None if they have none of its blocks."""
    count = counted(shapes, f"{BLOCK}{{}}/depthwise/W", 1)
    if not count:
        return None

    def out(layer: str) -> int:
        return (shapes.get(f"{layer}/W") or (0,))[-1]

    seen = [
        ((*shapes[f"{BLOCK}{i}/depthwise/W"], 0)[0], f"{BLOCK}{i}/squeeze/W" in shapes)
        for i in range(1, count + 1)
    ]

    def looks(name: str) -> int:
        return sum(own == plan[:2] for own, plan in zip(seen, PLANS[name][1], strict=False))

    name = max(PLANS, key=looks)
    widths = tuple(
        Widths(*(out(f"{BLOCK}{i}/{layer}") for layer in ("depthwise", "squeeze", "project")))
        for i in range(1, min(count, len(PLANS[name][1])) + 1)
    )
    laterals = counted(shapes, "fpn/lateral_1x1_c{}/W", 2)
    taken = tuple((*shapes[f"fpn/lateral_1x1_c{i}/W"], 0, 0, 0)[2] for i in range(2, 2 + laterals))
    plans, last = PLANS[name][1][: len(widths)], out(LAST)
    runs = [
        MobileNet(name, out("conv0"), widths, last, run)
        for run in _runs(plans, laterals or 2, has_last=last > 0)
    ]
    return next((network for network in runs if network.out == taken), runs[0])


def _runs(plans: tuple[Plan, ...], count: int, *, has_last: bool) -> list[tuple[int, ...]]:
    """What a pyramid may take: layers that stride, to 4 at least, and the last one.

    The last run comes first: torchvision takes the last two layers, unless told otherwise.
    """
    strides = _strides(plans)
    strided = [i for i, plan in enumerate(plans, start=1) if plan.stride > 1]
    stages = [i for i in strided if strides[i] > MIN_STRIDE // 2]
    if has_last:
        stages.append(len(plans) + 1)
    count = min(count, len(stages))
    return [tuple(stages[i : i + count]) for i in range(len(stages) - count, -1, -1)]


def _strides(plans: tuple[Plan, ...]) -> list[int]:
    """The stride of each layer's output, from the first to the last."""
    strides = [2]
    for plan in plans:
        strides.append(strides[-1] * plan.stride)
    return [*strides, strides[-1]]

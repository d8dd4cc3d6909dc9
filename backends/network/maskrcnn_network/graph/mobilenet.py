"""The backbone: a MobileNet of inverted residual blocks (Sandler et al. 2018, Howard et al. 2019).

Source: torchvision/models/mobilenetv3.py.
"""

from maskrcnn_network.graph.operations import Map, Operations
from maskrcnn_network.mobilenet import BLOCK, LAST, Activation, MobileNet, Plan


class MobileNetLayers:
    """The layers of a MobileNet, padded equally on all sides."""

    def __init__(self, shape: MobileNet) -> None:
        self._shape = shape

    def maps(self, ops: Operations, images: Map) -> list[Map]:
        """The maps that the pyramid takes."""
        shape = self._shape
        maps = [_conv(ops, "conv0", images, shape.activation, stride=2)]
        channels = shape.stem
        blocks = zip(shape.plans, shape.widths, strict=True)
        for i, (plan, (expanded, _, out)) in enumerate(blocks, start=1):
            entered = maps[-1] if plan.stride == 1 and channels == out else None
            maps.append(_block(ops, f"{BLOCK}{i}", maps[-1], plan, expanded, entered))
            channels = out
        if shape.last:
            maps.append(_conv(ops, LAST, maps[-1], shape.activation))
        return [maps[i] for i in shape.returned]


def _block(
    ops: Operations, name: str, x: Map, plan: Plan, channels: int, entered: Map | None
) -> Map:
    """An inverted residual block, plus what `entered` it."""
    if f"{name}/expand" in ops:
        x = _conv(ops, f"{name}/expand", x, plan.activation)
    x = _conv(ops, f"{name}/depthwise", x, plan.activation, stride=plan.stride, groups=channels)
    if plan.excited:
        squeezed = ops.dense(f"{name}/squeeze", ops.spatial_mean(x), relu=True)
        x = ops.weigh(x, ops.hard_sigmoid(ops.dense(f"{name}/excite", squeezed)))
    return ops.conv(f"{name}/project", x, add=entered)


def _conv(
    ops: Operations, name: str, x: Map, activation: Activation, *, stride: int = 1, groups: int = 1
) -> Map:
    around = ops.layers[name].kernel.shape[0] // 2
    y = ops.conv(name, x, stride, (around, around), groups=groups, relu=activation == "relu")
    other = {"relu6": ops.relu6, "hard_swish": ops.hard_swish}.get(activation)
    return other(y) if other else y

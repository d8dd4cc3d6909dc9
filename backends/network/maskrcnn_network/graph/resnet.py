"""The backbone: a ResNet of bottleneck blocks (He et al. 2015) or a ResNeXt (Xie et al. 2017)."""

from maskrcnn_network.architecture import Architecture
from maskrcnn_network.config import NetworkConfig
from maskrcnn_network.graph.operations import Map, Operations


class ResNet:
    """The stem and the groups of blocks, padded and strided as the configuration says.

    Source: TensorPack, FasterRCNN/modeling/backbone.py.
    """

    def __init__(self, architecture: Architecture, config: NetworkConfig) -> None:
        self._blocks = architecture.blocks
        self._groups = architecture.groups
        self._config = config

    def stem(self, ops: Operations, images: Map) -> Map:
        """The first layer, and the pooling after it: a quarter of the images' height and width."""
        x = ops.conv("conv0", images, 2, self._config.stem_pads, relu=True)
        return ops.max_pool(x, self._config.pool_pads)

    def group(self, ops: Operations, index: int, x: Map) -> Map:
        """Group `index`, 0 to 3; all but the first halve height and width, unless dilated."""
        dilation = self._config.dilation if index == 3 else 1
        for block in range(self._blocks[index]):
            stride = 2 if index > 0 and block == 0 and dilation == 1 else 1
            x = self._bottleneck(ops, f"group{index}/block{block}", x, stride, dilation)
        return x

    def _bottleneck(self, ops: Operations, name: str, x: Map, stride: int, dilation: int) -> Map:
        shortcut = x
        if f"{name}/convshortcut" in ops:
            cropped = self._crop(ops, x, stride)
            shortcut = ops.conv(f"{name}/convshortcut", cropped, stride, (0, 0))
        stride1, stride2 = (stride, 1) if self._config.stride_1x1 else (1, stride)
        cropped = self._crop(ops, x, stride1)
        x = ops.conv(f"{name}/conv1", cropped, stride1, (0, 0), relu=True)
        pads = None if stride2 == 1 else self._config.block_pads
        groups = self._groups
        x = ops.conv(f"{name}/conv2", x, stride2, pads, groups=groups, dilation=dilation, relu=True)
        return ops.conv(f"{name}/conv3", x, add=shortcut, relu=True)

    def _crop(self, ops: Operations, x: Map, stride: int) -> Map:
        """Crop the last row and column before striding, if maps may have odd sides."""
        config = self._config
        return x if stride == 1 or config.stride > 1 or config.symmetric else ops.crop(x)

"""The two kinds of body that heads sit on: a feature pyramid, and C4."""

from typing import NamedTuple, Protocol

import tensorflow as tf

from maskrcnn_network.architecture import Architecture
from maskrcnn_network.config import NetworkConfig
from maskrcnn_tensorflow import backbone
from maskrcnn_tensorflow.fpn import pyramid
from maskrcnn_tensorflow.layers import Layers
from maskrcnn_tensorflow.roi import Level, RoiAlign, pyramid_roi_align


class AnchorMap(NamedTuple):
    """The anchors of one feature map: their sizes, and the stride of its cells."""

    sizes: tuple[float, ...]
    stride: int


class Body(Protocol):
    """Turns images into feature maps, and boxes into what the heads see of them."""

    @property
    def anchors(self) -> list[AnchorMap]:
        """Of each feature map."""

    @property
    def box_resolution(self) -> int:
        """At which regions are pooled for the box head."""

    @property
    def mask_resolution(self) -> int:
        """At which regions are pooled for the mask head."""

    def features(self, images: tf.Tensor) -> list[tf.Tensor]:
        """Feature maps (batch, height, width, channels) of normalised images (batch, h, w, 3)."""

    def regions(
        self, features: list[tf.Tensor], boxes: tf.Tensor, images: tf.Tensor, resolution: int
    ) -> tf.Tensor:
        """What `boxes` (R, 4), network coordinates, look like in images (R,) of the batch.

        They are pooled at resolution x resolution.
        """


class Pyramid:
    """Five feature maps, P2 to P6, of which a region is taken from the one that fits its size."""

    box_resolution = 7
    mask_resolution = 14

    def __init__(
        self,
        layers: Layers,
        architecture: Architecture,
        config: NetworkConfig,
        roi_align: RoiAlign,
        level: Level,
    ) -> None:
        self._layers = layers
        self._blocks = architecture.blocks
        self._config = config
        self._roi_align = roi_align
        self._level = level
        self.anchors = [
            AnchorMap((size,), stride)
            for size, stride in zip(config.anchor_sizes, config.anchor_strides, strict=True)
        ]

    def features(self, images: tf.Tensor) -> list[tf.Tensor]:
        maps = [backbone.stem(images, self._layers, self._config)]
        for number, blocks in enumerate(self._blocks):
            maps.append(backbone.group(number, maps[-1], self._layers, blocks, self._config))
        return pyramid(maps[1:], self._layers)

    def regions(
        self, features: list[tf.Tensor], boxes: tf.Tensor, images: tf.Tensor, resolution: int
    ) -> tf.Tensor:
        return pyramid_roi_align(
            features[:4], boxes, images, resolution, self._roi_align, self._level
        )


class C4:
    """One feature map of stride 16; the last ResNet group sees each region, and halves it.

    Source: Ren et al. 2015.
    """

    STRIDE = 16
    box_resolution = 14
    mask_resolution = 14

    def __init__(
        self,
        layers: Layers,
        architecture: Architecture,
        config: NetworkConfig,
        roi_align: RoiAlign,
    ) -> None:
        self._layers = layers
        self._blocks = architecture.blocks
        self._config = config
        self._roi_align = roi_align
        self.anchors = [AnchorMap(config.anchor_sizes, self.STRIDE)]

    def features(self, images: tf.Tensor) -> list[tf.Tensor]:
        x = backbone.stem(images, self._layers, self._config)
        for number, blocks in enumerate(self._blocks[:3]):
            x = backbone.group(number, x, self._layers, blocks, self._config)
        return [x]

    def regions(
        self, features: list[tf.Tensor], boxes: tf.Tensor, images: tf.Tensor, resolution: int
    ) -> tf.Tensor:
        pooled = self._roi_align(features[0], boxes * (1 / self.STRIDE), images, resolution)
        return backbone.group(3, pooled, self._layers, self._blocks[3], self._config)

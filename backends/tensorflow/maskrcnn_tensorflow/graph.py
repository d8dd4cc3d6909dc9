"""The whole network, from a batch of images to detections and masks."""

from collections.abc import Callable
from typing import NamedTuple

import tensorflow as tf

from maskrcnn_tensorflow import heads
from maskrcnn_tensorflow.architecture import Architecture
from maskrcnn_tensorflow.backbone import resnet
from maskrcnn_tensorflow.config import NetworkConfig
from maskrcnn_tensorflow.fpn import pyramid
from maskrcnn_tensorflow.layers import Layers
from maskrcnn_tensorflow.roi import RoiAlign, pyramid_roi_align
from maskrcnn_tensorflow.rpn import Proposals

BOX_RESOLUTION = 7
MASK_RESOLUTION = 14


class Operators(NamedTuple):
    """What the frameworks compute each in their own way."""

    propose: Callable[[list[tf.Tensor], tf.Tensor, Layers, NetworkConfig], Proposals]
    """`propose(features, sizes, layers, config)`: proposals of a batch with features P2 to P6 and
    int32 sizes (batch, 2: height, width), without padding."""
    roi_align: RoiAlign
    level_epsilon: float
    """See `pyramid_roi_align`."""


class Stages(NamedTuple):
    """What `Graph.detect` computed, stage by stage, in network coordinates."""

    features: list[tf.Tensor]
    """P2 to P6, each float32 (batch, height, width, channels)."""
    proposals: Proposals
    logits: tf.Tensor
    """Class logits of the proposals, float32 (P, 1 + classes)."""
    found: heads.Found


class Graph:
    """Two compiled functions: `detect`, and `masks` of what it found.

    `detect(images, sizes, score_threshold, limit) -> Stages` takes float32 images (batch, height,
    width, 3), RGB minus the mean, zero-padded on the right and bottom to a multiple of 32; their
    int32 `sizes` (batch, 2) without padding; the least score; the most detections per image.

    `masks(features, found) -> float32 (D, 28, 28)` takes P2 to P5 and any detections.

    Neither is compiled anew for another batch size or image size.
    """

    def __init__(
        self,
        layers: Layers,
        architecture: Architecture,
        config: NetworkConfig,
        operators: Operators,
    ) -> None:
        self._layers = layers
        self._architecture = architecture
        self._config = config
        self._operators = operators
        self.detect = tf.function(
            self._detect,
            input_signature=[
                tf.TensorSpec([None, None, None, 3], tf.float32),
                tf.TensorSpec([None, 2], tf.int32),
                tf.TensorSpec([], tf.float32),
                tf.TensorSpec([], tf.int32),
            ],
        )
        self.masks = tf.function(
            self._masks,
            input_signature=[
                [tf.TensorSpec([None, None, None, architecture.pyramid], tf.float32)] * 4,
                heads.Found(
                    boxes=tf.TensorSpec([None, 4], tf.float32),
                    scores=tf.TensorSpec([None], tf.float32),
                    labels=tf.TensorSpec([None], tf.int32),
                    images=tf.TensorSpec([None], tf.int32),
                ),
            ],
        )

    def _detect(
        self, images: tf.Tensor, sizes: tf.Tensor, score_threshold: tf.Tensor, limit: tf.Tensor
    ) -> Stages:
        layers, config = self._layers, self._config
        features = pyramid(resnet(images, layers, self._architecture.blocks), layers)
        proposals = self._operators.propose(features, sizes, layers, config)
        regions = self._regions(features[:4], proposals.boxes, proposals.images, BOX_RESOLUTION)
        logits, class_boxes = heads.classify(regions, proposals, sizes, layers, config)
        found = heads.select(
            logits,
            class_boxes,
            proposals.images,
            tf.shape(images)[0],
            score_threshold,
            limit,
            config,
        )
        return Stages(features, proposals, logits, found)

    def _masks(self, features: list[tf.Tensor], found: heads.Found) -> tf.Tensor:
        regions = self._regions(features, found.boxes, found.images, MASK_RESOLUTION)
        return heads.masks(regions, found.labels, self._layers, self._architecture.mask_convs)

    def _regions(
        self, features: list[tf.Tensor], boxes: tf.Tensor, images: tf.Tensor, resolution: int
    ) -> tf.Tensor:
        _, roi_align, level_epsilon = self._operators
        return pyramid_roi_align(features, boxes, images, resolution, roi_align, level_epsilon)

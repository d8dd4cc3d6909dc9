"""The whole network, from a batch of images to detections and masks."""

from collections.abc import Callable
from typing import NamedTuple, TypeAlias

import tensorflow as tf

from maskrcnn_network.architecture import Architecture
from maskrcnn_network.config import NetworkConfig
from maskrcnn_tensorflow import heads, rpn
from maskrcnn_tensorflow.body import C4, Body, Pyramid
from maskrcnn_tensorflow.layers import Layers
from maskrcnn_tensorflow.roi import Level, RoiAlign

Propose: TypeAlias = Callable[[list[rpn.RawBoxes], tf.Tensor], rpn.Proposals]
"""`propose(pools, sizes)`: proposals of a batch, from what the network says of the anchors of each
feature map, and int32 sizes (batch, 2: height, width) without padding."""


class Operators(NamedTuple):
    """What the frameworks compute each in their own way."""

    propose: Propose
    roi_align: RoiAlign
    level: Level
    anchors: rpn.Anchors = rpn.even_anchors


class Stages(NamedTuple):
    """What `Graph.detect` computed, stage by stage, in network coordinates."""

    features: list[tf.Tensor]
    """Feature maps, each float32 (batch, height, width, channels)."""
    proposals: rpn.Proposals
    probabilities: tf.Tensor
    """Class probabilities of the proposals, float32 (P, 1 + classes)."""
    found: heads.Found


class Graph:
    """Two compiled functions: `detect`, and `masks` of what it found.

    `detect(images, sizes, score_threshold, limit) -> Stages` takes float32 images (batch, height,
    width, 3), RGB minus the mean, zero-padded on the right and bottom to a multiple of 32 if the
    network has a pyramid; their int32 `sizes` (batch, 2) without padding; the least score; the most
    detections per image.

    `masks(features, found) -> float32 (D, m, m)` takes all feature maps and any detections.

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
        self._body: Body
        if architecture.pyramid is None:
            self._body = C4(layers, architecture, config, operators.roi_align)
        else:
            self._body = Pyramid(layers, architecture, config, operators.roi_align, operators.level)
        self.detect = tf.function(
            self._detect,
            input_signature=[
                tf.TensorSpec([None, None, None, 3], tf.float32),
                tf.TensorSpec([None, 2], tf.int32),
                tf.TensorSpec([], tf.float32),
                tf.TensorSpec([], tf.int32),
            ],
        )
        channels = architecture.pyramid or architecture.widths[2][1]
        feature = tf.TensorSpec([None, None, None, channels], tf.float32)
        self.masks = tf.function(
            self._masks,
            input_signature=[
                [feature] * len(self._body.anchors),
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
        features = self.features(images)
        proposals = self.proposals(features, images, sizes)
        features = [tf.cast(feature, tf.float32) for feature in features]
        probabilities, found = self.found(
            features, proposals, images, sizes, score_threshold, limit
        )
        return Stages(features, proposals, probabilities, found)

    def features(self, images: tf.Tensor) -> list[tf.Tensor]:
        """The feature maps of images, as computed."""
        return self._body.features(images)

    def proposals(
        self, features: list[tf.Tensor], images: tf.Tensor, sizes: tf.Tensor
    ) -> rpn.Proposals:
        """What the region proposal network finds on them."""
        pools = rpn.raw_boxes(
            features,
            self._body.anchors,
            tf.shape(images)[1:3],
            self._operators.anchors,
            self._layers,
            self._config,
        )
        return self._operators.propose(pools, sizes)

    def found(
        self,
        features: list[tf.Tensor],
        proposals: rpn.Proposals,
        images: tf.Tensor,
        sizes: tf.Tensor,
        score_threshold: tf.Tensor,
        limit: tf.Tensor,
    ) -> tuple[tf.Tensor, heads.Found]:
        """Class probabilities of the proposals, and the detections; of float32 feature maps."""
        probabilities, class_boxes = self._classify(features, proposals, sizes)
        found = heads.select(
            probabilities,
            class_boxes,
            proposals.images,
            tf.shape(images)[0],
            score_threshold,
            limit,
            self._config,
        )
        return probabilities, found

    def _classify(
        self, features: list[tf.Tensor], proposals: rpn.Proposals, sizes: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Each box head works on the boxes of the one before; their probabilities are averaged.

        Most networks have one; Cascade R-CNN (Cai and Vasconcelos 2018) has three.
        """
        region_sizes = tf.gather(sizes, proposals.images)
        boxes, probabilities = proposals.boxes, []
        for (head, outputs), weights in zip(
            self._architecture.heads, self._config.regression_weights, strict=False
        ):
            regions = self._body.regions(
                features, boxes, proposals.images, self._body.box_resolution
            )
            hidden = heads.box_features(regions, head, self._layers)
            of_head, class_boxes = heads.classify(
                hidden, outputs, boxes, region_sizes, weights, self._layers, self._config
            )
            probabilities.append(of_head)
            boxes = class_boxes[:, 0]
        return tf.add_n(probabilities) / len(probabilities), class_boxes

    def _masks(self, features: list[tf.Tensor], found: heads.Found) -> tf.Tensor:
        regions = self._body.regions(
            features, found.boxes, found.images, self._body.mask_resolution
        )
        return heads.masks(regions, found.labels, self._layers)

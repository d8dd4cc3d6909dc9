"""What AWS Samples' network (branch `master`, TensorFlow 2) computes in its own way.

Sources: MaskRCNN/model/rpn.py and boxes.py, and TensorFlow's CUDA kernel of
`tf.image.generate_bounding_box_proposals`, whose semantics these are on any device.
"""

import math

import tensorflow as tf

from maskrcnn_tensorflow import boxes, rpn
from maskrcnn_tensorflow.body import AnchorMap
from maskrcnn_tensorflow.config import NetworkConfig
from maskrcnn_tensorflow.graph import Operators
from maskrcnn_tensorflow.layers import Layers
from maskrcnn_tensorflow.roi import sample_grid

PRE_SUPPRESSION = 2000
"""Boxes of each level that go into suppression."""
DELTA_CLIP = math.log(1000 / 16)
MIN_SIZE = 0.1
"""Over the stride: the least width and height of a proposal, in pixels of the resized image."""


def propose(
    features: list[tf.Tensor],
    anchors: list[AnchorMap],
    sizes: tf.Tensor,
    layers: Layers,
    config: NetworkConfig,
) -> rpn.Proposals:
    """Ranked by sigmoid, which saturates: logits above about 17 tie, and the earlier anchor wins.

    Boxes with a side of less than 0.1 / stride pixels are dropped.
    """
    pools = rpn.raw_boxes(features, anchors, layers, config)
    found = rpn.candidates(
        pools, count=PRE_SUPPRESSION, delta_clip=DELTA_CLIP, activation=tf.sigmoid
    )
    clipped = boxes.clip_to(found.boxes, sizes[:, None, None])
    least = MIN_SIZE / tf.constant(config.anchor_strides, tf.float32)
    side = tf.reduce_min(clipped[..., 2:] - clipped[..., :2], axis=-1)
    scores = tf.where(side >= least[:, None], found.scores, rpn.DROPPED)
    best = rpn.Candidates(clipped, scores)
    return rpn.best(best, config.proposals, config.proposal_nms_threshold)


def roi_align(
    feature: tf.Tensor, regions: tf.Tensor, images: tf.Tensor, resolution: int
) -> tf.Tensor:
    """One sample a bin at x1 + (i + 0.5) * width / resolution, without the half-pixel shift.

    Beyond the last row and column, samples see the border pixel.
    """
    padded = tf.pad(feature, [[0, 0], [0, 1], [0, 1], [0, 0]], "SYMMETRIC")
    return sample_grid(padded, regions, images, resolution, offset=0.0)


OPERATORS = Operators(propose, roi_align, level_epsilon=0.0)

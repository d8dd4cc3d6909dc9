"""What AWS Samples' network (branch `master`, TensorFlow 2) computes in its own way.

Sources: MaskRCNN/model/rpn.py and boxes.py, and TensorFlow's CUDA kernel of
`tf.image.generate_bounding_box_proposals`, whose semantics these are on any device.
"""

from functools import partial

import tensorflow as tf

from maskrcnn_aws_samples.config import AwsSamplesConfig
from maskrcnn_aws_samples.rules import DELTA_CLIP
from maskrcnn_tensorflow import boxes, rpn
from maskrcnn_tensorflow.graph import Operators
from maskrcnn_tensorflow.roi import octave, sample_grid


def operators(config: AwsSamplesConfig) -> Operators:
    """The operators of a network that is configured like this."""
    return Operators(partial(_propose, config), _roi_align, octave)


def _propose(
    config: AwsSamplesConfig, pools: list[rpn.RawBoxes], sizes: tf.Tensor
) -> rpn.Proposals:
    """Ranked by sigmoid, which saturates: logits above about 17 tie, and the earlier anchor wins.

    Boxes with a side of less than `min_size` / stride pixels are dropped.
    """
    found = rpn.candidates(
        pools, count=config.level_candidates, delta_clip=DELTA_CLIP, activation=tf.sigmoid
    )
    clipped = boxes.clip_to(found.boxes, sizes[:, None, None])
    least = config.min_size / tf.constant(config.anchor_strides, tf.float32)
    found = rpn.without_small(found._replace(boxes=clipped), least)
    return rpn.best(found, config.level_proposals, config.proposals, config.proposal_nms_threshold)


def _roi_align(
    feature: tf.Tensor, regions: tf.Tensor, images: tf.Tensor, resolution: int
) -> tf.Tensor:
    """One sample a bin at x1 + (i + 0.5) * width / resolution, without the half-pixel shift.

    Beyond the last row and column, samples see the border pixel.
    """
    padded = tf.pad(feature, [[0, 0], [0, 1], [0, 1], [0, 0]], "SYMMETRIC")
    return sample_grid(padded, regions, images, [resolution] * 2, offset=0.0)

"""What TensorPack's network computes in its own way.

Sources: FasterRCNN/modeling/model_fpn.py, model_rpn.py and model_box.py.
"""

from functools import partial

import tensorflow as tf

from maskrcnn_tensorflow import boxes, rpn
from maskrcnn_tensorflow.graph import Operators
from maskrcnn_tensorflow.roi import octave, sample_grid
from maskrcnn_tensorflow.tensorpack_config import TensorPackConfig


def operators(config: TensorPackConfig) -> Operators:
    """The operators of a network that is configured like this."""
    return Operators(partial(_propose, config), _roi_align, partial(octave, epsilon=1e-6))


def _propose(
    config: TensorPackConfig, pools: list[rpn.RawBoxes], sizes: tf.Tensor
) -> rpn.Proposals:
    """Ranked by logit, level by level or all together; boxes without area are kept."""
    count = keep = config.proposals
    if config.proposal_mode == "Joint" or len(pools) == 1:
        pools, count, keep = [rpn.joined(pools)], config.joint_candidates, config.joint_proposals
    found = rpn.candidates(pools, count=count, delta_clip=config.delta_clip)
    clipped = boxes.clip_to(found.boxes, sizes[:, None, None])
    found = found._replace(boxes=clipped)
    if config.min_size > 0:
        found = rpn.without_small(found, tf.constant([config.min_size], tf.float32))
    return rpn.best(found, keep, keep, config.proposal_nms_threshold)


def _roi_align(
    feature: tf.Tensor, regions: tf.Tensor, images: tf.Tensor, resolution: int
) -> tf.Tensor:
    """RoIAlign (He et al. 2017) with 2 x 2 samples a bin, half-pixel correct.

    Beyond the border, samples see the border pixel mirrored once.
    """
    padded = tf.pad(feature, [[0, 0], [1, 1], [1, 1], [0, 0]], "SYMMETRIC")
    samples = sample_grid(padded, regions + 1, images, [2 * resolution] * 2, offset=-0.5)
    return tf.nn.avg_pool2d(samples, 2, 2, "VALID")

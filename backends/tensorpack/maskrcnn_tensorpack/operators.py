"""What TensorPack's network computes in its own way.

Sources: FasterRCNN/modeling/model_fpn.py, model_rpn.py and model_box.py.
"""

import tensorflow as tf

from maskrcnn_tensorflow import boxes, rpn
from maskrcnn_tensorflow.body import AnchorMap
from maskrcnn_tensorflow.config import NetworkConfig
from maskrcnn_tensorflow.graph import Operators
from maskrcnn_tensorflow.layers import Layers
from maskrcnn_tensorflow.roi import sample_grid


def propose(
    features: list[tf.Tensor],
    anchors: list[AnchorMap],
    sizes: tf.Tensor,
    layers: Layers,
    config: NetworkConfig,
) -> rpn.Proposals:
    """Ranked by logit, level by level or all together; boxes without area are kept."""
    pools = rpn.raw_boxes(features, anchors, layers, config)
    count = keep = config.proposals
    if config.proposal_mode == "Joint" or len(pools) == 1:
        pools, count, keep = [rpn.joined(pools)], config.joint_candidates, config.joint_proposals
    found = rpn.candidates(pools, count=count, delta_clip=config.delta_clip)
    clipped = boxes.clip_to(found.boxes, sizes[:, None, None])
    return rpn.best(found._replace(boxes=clipped), keep, config.proposal_nms_threshold)


def roi_align(
    feature: tf.Tensor, regions: tf.Tensor, images: tf.Tensor, resolution: int
) -> tf.Tensor:
    """RoIAlign (He et al. 2017) with 2 x 2 samples a bin, half-pixel correct.

    Beyond the border, samples see the border pixel mirrored once.
    """
    padded = tf.pad(feature, [[0, 0], [1, 1], [1, 1], [0, 0]], "SYMMETRIC")
    samples = sample_grid(padded, regions + 1, images, 2 * resolution, offset=-0.5)
    return tf.nn.avg_pool2d(samples, 2, 2, "VALID")


OPERATORS = Operators(propose, roi_align, level_epsilon=1e-6)

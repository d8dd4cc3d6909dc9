"""What torchvision's network computes in its own way.

Sources: torchvision/models/detection/rpn.py and anchor_utils.py, ops/poolers.py and roi_align.py.
"""

import math
from functools import partial

import numpy as np
import tensorflow as tf

from maskrcnn_tensorflow import boxes, rpn
from maskrcnn_tensorflow.body import AnchorMap
from maskrcnn_tensorflow.cells import cell_anchors
from maskrcnn_tensorflow.graph import Operators
from maskrcnn_tensorflow.roi import sample_grid
from maskrcnn_torchvision.config import TorchvisionConfig
from maskrcnn_torchvision.rules import LEAST_SIDE


def operators(config: TorchvisionConfig) -> Operators:
    """The operators of a network that is configured like this."""
    return Operators(partial(_propose, config), _roi_align, _level, _anchors)


def _anchors(
    cell: AnchorMap, ratios: tuple[float, ...], grid: tf.Tensor, image: tf.Tensor
) -> tf.Tensor:
    """Rounded, and as far apart as the image has whole pixels for each place.

    That is 61, not 64, on the last level of an image that is 800 pixels high.
    """
    return boxes.spread(np.round(cell_anchors(cell.sizes, ratios)), grid, image // grid)


def _propose(
    config: TorchvisionConfig, pools: list[rpn.RawBoxes], sizes: tf.Tensor
) -> rpn.Proposals:
    """Ranked by logit within each level, by sigmoid from there on."""
    found = rpn.candidates(pools, count=config.level_candidates, delta_clip=config.delta_clip)
    present = found.scores > rpn.DROPPED
    found = rpn.Candidates(
        boxes.clip_to(found.boxes, sizes[:, None, None]),
        tf.where(present, tf.sigmoid(found.scores), rpn.DROPPED),
    )
    found = rpn.without_small(found, tf.constant([LEAST_SIDE], tf.float32))
    return rpn.best(found, config.level_candidates, config.proposals, config.proposal_nms_threshold)


def _level(root_area: tf.Tensor) -> tf.Tensor:
    return tf.floor(4 + tf.math.log(root_area / 224) / math.log(2) + 1e-6)


def _roi_align(
    feature: tf.Tensor, regions: tf.Tensor, images: tf.Tensor, resolution: int
) -> tf.Tensor:
    """RoIAlign (He et al. 2017) with 2 x 2 samples a bin, `aligned=False`.

    There is no half-pixel shift, and a region is one place wide and high at least. Samples up to
    one place beyond the border see the border; further out, there are zeros.
    """
    low = regions[:, :2]
    extent = tf.maximum(regions[:, 2:] - low, 1.0)
    regions = tf.concat([low, low + extent], axis=1)
    padded = tf.pad(feature, [[0, 0], [1, 1], [1, 1], [0, 0]], "SYMMETRIC")
    samples = sample_grid(padded, regions, images, [2 * resolution] * 2, offset=1.0)
    return tf.nn.avg_pool2d(samples, 2, 2, "VALID")

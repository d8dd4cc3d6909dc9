"""What Detectron2's network computes in its own way.

Sources: detectron2/modeling/proposal_generator/proposal_utils.py, modeling/poolers.py and
layers/roi_align.py, with torchvision's kernel of RoIAlign.
"""

from functools import partial

import tensorflow as tf

from maskrcnn_detectron2.config import Detectron2Config
from maskrcnn_detectron2.rules import NO_AREA
from maskrcnn_tensorflow import boxes, rpn
from maskrcnn_tensorflow.graph import Operators
from maskrcnn_tensorflow.roi import octave, sample_grid

MOST = 1 << 16
"""More samples than any bin has."""


def operators(config: Detectron2Config) -> Operators:
    """The operators of a network that is configured like this."""
    return Operators(partial(_propose, config), _roi_align, partial(octave, epsilon=1e-8))


def _propose(
    config: Detectron2Config, pools: list[rpn.RawBoxes], sizes: tf.Tensor
) -> rpn.Proposals:
    """Ranked by logit, level by level; boxes without area are dropped."""
    found = rpn.candidates(pools, count=config.level_candidates, delta_clip=config.delta_clip)
    found = found._replace(boxes=boxes.clip_to(found.boxes, sizes[:, None, None]))
    least = tf.constant([max(config.min_size, NO_AREA)], tf.float32)
    return rpn.best(
        rpn.without_small(found, least),
        config.level_candidates,
        config.proposals,
        config.proposal_nms_threshold,
    )


def _roi_align(
    feature: tf.Tensor, regions: tf.Tensor, images: tf.Tensor, resolution: int
) -> tf.Tensor:
    """RoIAlign (He et al. 2017), half-pixel correct, with a sample for each place of a bin.

    How many there are depends on the region: those with as many are pooled together.
    """
    padded = tf.pad(feature, [[0, 0], [1, 1], [1, 1], [0, 0]], "SYMMETRIC")
    corners = tf.concat([regions[:, :2] - 0.5, regions[:, 2:] - 0.5], axis=1)
    extent = corners[:, 2:] - corners[:, :2]
    counts = tf.maximum(1, tf.cast(tf.math.ceil(extent / resolution), tf.int32))
    kinds, kind_of = tf.unique(counts[:, 1] * MOST + counts[:, 0])
    number = tf.shape(kinds)[0]
    shape = [None, resolution, resolution, feature.shape[3]]
    pooled = tf.TensorArray(tf.float32, number, infer_shape=False, element_shape=shape)
    places = tf.TensorArray(tf.int64, number, infer_shape=False, element_shape=[None])

    def pool(
        i: tf.Tensor, pooled: tf.TensorArray, places: tf.TensorArray
    ) -> tuple[tf.Tensor, tf.TensorArray, tf.TensorArray]:
        own = tf.where(kind_of == i)[:, 0]
        rows, columns = kinds[i] // MOST, kinds[i] % MOST
        samples = sample_grid(
            padded,
            tf.gather(corners, own) + 1,
            tf.gather(images, own),
            tf.stack([resolution * rows, resolution * columns]),
            offset=0.0,
        )
        by_bin = [-1, resolution, rows, resolution, columns, feature.shape[3]]
        means = tf.reduce_mean(tf.reshape(samples, by_bin), axis=[2, 4])
        return i + 1, pooled.write(i, means), places.write(i, own)

    _, pooled, places = tf.while_loop(lambda i, *_: i < number, pool, (0, pooled, places))
    order = tf.math.invert_permutation(tf.cast(places.concat(), tf.int32))
    return tf.gather(pooled.concat(), order)

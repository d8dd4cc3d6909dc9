"""Writing a network as a SavedModel, which TensorFlow Serving can load without this project."""

from pathlib import Path

import tensorflow as tf

from maskrcnn_network.graph import boxes
from maskrcnn_network.graph.frames import PixelFrame
from maskrcnn_network.graph.network import Network, Variables
from maskrcnn_network.preparation import Preparation
from maskrcnn_server.backend import ModelMetadata
from maskrcnn_server.errors import InvalidSetting
from maskrcnn_tensorflow.operations import TensorFlowOperations


def write(network: Network, variables: Variables, metadata: ModelMetadata, target: Path) -> None:
    """Write a SavedModel with two signatures.

    `serving_default` takes `image` uint8 (height, width, 3), RGB; `batch` takes `images` uint8
    (batch, height, width, 3). Both give `boxes` float32 (D, 4: x1, y1, x2, y2) in the image,
    `scores` float32 (D,), `labels` int32 (D,) from 1, and, if the network has them, `masks` float32
    (D, m, m): probabilities in the box. `batch` also gives `image` int32 (D,): index of the image.

    Raises InvalidSetting for images that are prepared in a way that TensorFlow does not have.

    TensorFlow resizes images, and its arithmetic differs from OpenCV's and Pillow's in the last bit
    of a pixel. Everything else is as in the server.
    """
    config = network.config
    rule = config.preparation
    if rule.on_host:
        raise InvalidSetting(
            "a SavedModel cannot prepare images as this model does: export it to onnx"
        )
    ops = TensorFlowOperations(network.folded(variables, channels_last=True))

    def detect(images: tf.Tensor) -> dict[str, tf.Tensor]:
        original = tf.cast(tf.shape(images)[1:3], tf.float32)
        resized = _resized(images, rule)
        size = tf.shape(resized)[1:3]
        padding = -size % rule.multiple_of
        pixels = tf.pad(
            resized - tf.constant(rule.mean, tf.float32),
            [[0, 0], [0, padding[0]], [0, padding[1]], [0, 0]],
        )
        sizes = tf.tile(tf.cast(size, tf.float32)[None], [tf.shape(images)[0], 1])
        threshold = tf.constant(metadata.score_threshold)
        features, _, _, found = network.detect(ops, pixels, sizes, threshold, config.detections)
        scale = sizes[0] / original
        if rule.one_scale:
            scale = tf.repeat(tf.sqrt(tf.reduce_prod(scale)), 2)
        found_boxes = found.boxes / tf.gather(scale, [1, 0, 1, 0])
        answer = {
            "boxes": boxes.clip_to(
                ops, found_boxes, PixelFrame().proposal_limits(ops, original[None])
            ),
            "scores": found.scores,
            "labels": tf.cast(found.labels, tf.int32),
            "image": tf.cast(found.images, tf.int32),
        }
        if network.architecture.has_masks:
            seen = found.boxes, found.labels, found.images
            answer["masks"] = network.masks(ops, features, *seen)
        return answer

    def one(image: tf.Tensor) -> dict[str, tf.Tensor]:
        answer = detect(image[None])
        del answer["image"]
        return answer

    module = tf.Module()
    module.one = tf.function(one, [tf.TensorSpec([None, None, 3], tf.uint8, "image")])
    module.batch = tf.function(detect, [tf.TensorSpec([None, None, None, 3], tf.uint8, "images")])
    signatures = {"serving_default": module.one, "batch": module.batch}
    tf.saved_model.save(module, str(target), signatures=signatures)


def _resized(images: tf.Tensor, rule: Preparation) -> tf.Tensor:
    """Images (batch, height, width, 3) as float32, resized according to `rule`."""
    if rule.short_edge is None:
        return tf.cast(images, tf.float32)
    edges = tf.cast(tf.shape(images)[1:3], tf.float64)
    edges *= rule.short_edge / tf.reduce_min(edges)
    edges *= tf.minimum(tf.constant(1.0, tf.float64), rule.long_edge / tf.reduce_max(edges))
    size = tf.maximum(1, tf.cast(edges + rule.rounding, tf.int32))
    pixels = tf.image.resize(images, size, antialias=rule.resampling == "pillow")
    return pixels if rule.resampling == "float" else tf.round(pixels)

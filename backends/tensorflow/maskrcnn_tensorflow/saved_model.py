"""Writing a network as a SavedModel, which TensorFlow Serving loads without this project."""

from pathlib import Path

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from maskrcnn_network.architecture import Architecture
from maskrcnn_network.config import NetworkConfig
from maskrcnn_tensorflow import boxes, heads
from maskrcnn_tensorflow.graph import Graph, Operators
from maskrcnn_tensorflow.layers import fold


def write(
    target: Path,
    architecture: Architecture,
    config: NetworkConfig,
    operators: Operators,
    variables: dict[str, NDArray[np.float32]],
    score_threshold: float,
) -> None:
    """Write a SavedModel with two signatures.

    `serving_default` takes `image` uint8 (height, width, 3), RGB; `batch` takes `images` uint8
    (batch, height, width, 3). Both give `boxes` float32 (D, 4: x1, y1, x2, y2) in the image,
    `scores` float32 (D,), `labels` int32 (D,) from 1, and, if the network has them, `masks` float32
    (D, m, m): probabilities in the box. `batch` also gives `image` int32 (D,): whose they are.

    Images are resized by TensorFlow, whose arithmetic differs from OpenCV's and Pillow's in the
    last bit of a pixel; everything else is what the server computes.
    """
    layers = fold(variables, config)
    graph = Graph(layers, architecture, config, operators)

    def detect(images: tf.Tensor) -> dict[str, tf.Tensor]:
        original = tf.shape(images)[1:3]
        resized = _resized(images, config)
        size = tf.shape(resized)[1:3]
        padding = -size % config.stride
        pixels = tf.pad(
            resized - tf.constant(config.rgb_mean, tf.float32),
            [[0, 0], [0, padding[0]], [0, padding[1]], [0, 0]],
        )
        sizes = tf.tile(size[None], [tf.shape(images)[0], 1])
        threshold, limit = tf.constant(score_threshold), tf.constant(config.detections)
        stages = graph.detect(pixels, sizes, threshold, limit)
        found: heads.Found = stages.found
        scale = tf.cast(size, tf.float32) / tf.cast(original, tf.float32)
        if config.resampling.one_scale:
            scale = tf.repeat(tf.sqrt(tf.reduce_prod(scale)), 2)
        found_boxes = found.boxes / tf.gather(scale, [1, 0, 1, 0])
        answer = {
            "boxes": boxes.clip_to(found_boxes, original[None]),
            "scores": found.scores,
            "labels": found.labels,
            "image": found.images,
        }
        if architecture.has_masks:
            answer["masks"] = graph.masks(stages.features, found)
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


def _resized(images: tf.Tensor, config: NetworkConfig) -> tf.Tensor:
    """Images (batch, height, width, 3) as float32, with the sizes that `preprocess` gives them."""
    if config.short_edge is None:
        return tf.cast(images, tf.float32)
    edges = tf.cast(tf.shape(images)[1:3], tf.float64)
    edges *= config.short_edge / tf.reduce_min(edges)
    edges *= tf.minimum(tf.constant(1.0, tf.float64), config.long_edge / tf.reduce_max(edges))
    rule = config.resampling
    size = tf.maximum(1, tf.cast(edges + rule.rounding, tf.int32))
    pixels = tf.image.resize(images, size, antialias=rule.antialias)
    return tf.round(pixels) if rule.whole else pixels

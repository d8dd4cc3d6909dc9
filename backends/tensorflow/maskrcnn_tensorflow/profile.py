"""The network in parts that wait for one another, to see what each takes."""

import time
from collections.abc import Callable
from typing import TypeVar

import numpy as np
import tensorflow as tf

from maskrcnn_tensorflow import heads, rpn
from maskrcnn_tensorflow.graph import Graph

T = TypeVar("T")


class Profile:
    """A graph's `detect` and `masks`, compiled as four functions: the same operations.

    The seams forbid what TensorFlow does across them, so that the parts may take more together.
    """

    def __init__(self, graph: Graph) -> None:
        self._backbone = tf.function(graph.features)
        self._rpn = tf.function(graph.proposals)
        self._heads = tf.function(graph.found)
        self._masks = graph.masks

    def seconds(
        self, images: tf.Tensor, sizes: tf.Tensor, score_threshold: float, limit: int
    ) -> dict[str, float]:
        """What each part takes, by name, in order. Arguments are those of `Graph.detect`."""
        spent: dict[str, float] = {}
        given = tf.constant(images), tf.constant(sizes)
        features: list[tf.Tensor] = _timed(spent, "backbone", lambda: self._backbone(given[0]))
        proposals: rpn.Proposals = _timed(spent, "rpn", lambda: self._rpn(features, *given))
        features = [tf.cast(feature, tf.float32) for feature in features]
        least, most = tf.constant(score_threshold, tf.float32), tf.constant(limit, tf.int32)
        found: heads.Found = _timed(
            spent, "heads", lambda: self._heads(features, proposals, *given, least, most)[1]
        )
        _timed(spent, "mask head", lambda: self._masks(features, found))
        return spent


def _timed(spent: dict[str, float], name: str, compute: Callable[[], T]) -> T:
    start = time.perf_counter()
    result = compute()
    for tensor in tf.nest.flatten(result):
        np.asarray(tensor)
    spent[name] = time.perf_counter() - start
    return result

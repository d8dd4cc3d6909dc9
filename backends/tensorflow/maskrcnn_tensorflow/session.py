"""A network compiled by TensorFlow for any batch and any size of image."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import tensorflow as tf

from maskrcnn_network.engine import Integers, Intermediate, Output, RankedBoxes, RunOptions
from maskrcnn_network.graph.network import Network, Stages, Variables
from maskrcnn_network.graph.selection import Detected
from maskrcnn_network.preparation import Floats
from maskrcnn_server.backend import Image
from maskrcnn_server.engine import Setup
from maskrcnn_server.rle import Size
from maskrcnn_server.stopwatch import stage
from maskrcnn_tensorflow.operations import TensorFlowOperations
from maskrcnn_tensorflow.tf_environment import threads

GPU_PIXELS = 4_000_000
"""Estimated number of pixels that keep a GPU busy. One image keeps a CPU busy."""

PARTS = ("backbone", "rpn", "heads", "masks")


class TensorFlowSession:
    """Computes the images of a call together."""

    max_batch = 4
    """Maximum number of images in one call. Each takes about half a gigabyte."""

    def __init__(self, network: Network, variables: Variables, setup: Setup) -> None:
        kind, _, index = setup.device.partition(":")
        self._network = network
        self._device = "/CPU:0" if kind == "cpu" else f"/GPU:{index}"
        self._dtype = tf.as_dtype(setup.precision)
        self.batch_pixels = 0 if kind == "cpu" else GPU_PIXELS
        self.facts = {"library": f"TensorFlow {tf.__version__}", "threads": threads()}
        if kind == "cuda":
            # The default is TF32.
            tf.config.experimental.enable_tensor_float_32_execution(False)
        with tf.device(self._device):
            folded = network.folded(variables, channels_last=True)
            ops = TensorFlowOperations(folded, self._dtype)
        # autograph takes two seconds to look for control flow in Python, of which there is none.
        compiled = partial(tf.function, autograph=False)
        channels = network.architecture.features
        feature = tf.TensorSpec([None, None, None, channels], self._dtype)
        self._detect = compiled(
            partial(network.detect, ops),
            input_signature=[
                tf.TensorSpec([None, None, None, 3], tf.float32),
                tf.TensorSpec([None, 2], tf.float32),
                tf.TensorSpec([], tf.float32),
                tf.TensorSpec([], tf.int32),
            ],
        )
        self._masks = compiled(
            partial(network.masks, ops),
            input_signature=[
                [feature] * len(network.body.cells),
                tf.TensorSpec([None, 4], tf.float32),
                tf.TensorSpec([None], tf.int64),
                tf.TensorSpec([None], tf.int64),
            ],
        )
        parts = (network.features, network.proposals, network.found)
        self._parts = [compiled(partial(part, ops)) for part in parts]

    def run(self, images: Sequence[Image], sizes: Sequence[Size], options: RunOptions, /) -> Output:
        return self._run(images, sizes, options)[1]

    def close(self) -> None:
        self._detect = self._masks = None
        self._parts = []

    def stages(self, image: Image, size: Size, options: RunOptions, /) -> Intermediate:
        stages, output = self._run([image], [size], replace(options, proposals=True))
        features = (np.asarray(tf.cast(f[0], tf.float32)) for f in stages.features)
        return Intermediate(tuple(features), output)

    def masks_of(self, features: Sequence[Floats], boxes: Floats, labels: Integers, /) -> Floats:
        with tf.device(self._device):
            maps = [tf.cast(f[None], self._dtype) for f in features]
            return np.asarray(self._masks(maps, boxes, labels, np.zeros(len(boxes), np.int64)))

    def seconds(self, image: Image, size: Size, options: RunOptions, /) -> Mapping[str, float]:
        """Seconds of the parts, which run one after another.

        TensorFlow optimises only inside a part, so that their sum may exceed the time of a run.
        """
        find_features, propose, find = self._parts
        spent = dict.fromkeys(PARTS, 0.0)
        with tf.device(self._device):
            images, sizes, *kept = (tf.constant(x) for x in self._feed([image], [size], options))
            features = _timed(spent, "backbone", lambda: find_features(images))
            proposals = _timed(spent, "rpn", lambda: propose(features, images, sizes))
            _, found = _timed(spent, "heads", lambda: find(features, proposals, sizes, *kept))
            if self._network.architecture.has_masks:
                _timed(spent, "masks", lambda: self._masked(features, found))
        return spent

    def _run(
        self, images: Sequence[Image], sizes: Sequence[Size], options: RunOptions
    ) -> tuple[Stages, Output]:
        with stage("preprocess"):
            feed = self._feed(images, sizes, options)
        with stage("network"), tf.device(self._device):
            stages: Stages = self._detect(*feed)
            boxes, scores, labels, owners = map(np.asarray, stages.found)
            masks = regions = None
            if options.masks and self._network.architecture.has_masks:
                masks = np.asarray(self._masked(stages.features, stages.found))
            if options.proposals:
                seen, objectness, slots = stages.proposals
                parts = seen, objectness, slots.images, stages.probabilities
                regions = RankedBoxes(*(np.asarray(part) for part in parts))
            return stages, Output(boxes, scores, labels, owners, masks, regions)

    def _masked(self, features: list[tf.Tensor], found: Detected) -> tf.Tensor:
        return self._masks(features, found.boxes, found.labels, found.images)

    def _feed(
        self, images: Sequence[Image], sizes: Sequence[Size], options: RunOptions
    ) -> tuple[Any, ...]:
        """Arguments of `Network.detect`."""
        rule = self._network.config.preparation
        return (
            rule.batch(images, sizes, rule.padded_size(sizes[0])),
            np.array(sizes, np.float32),
            np.float32(options.score_threshold),
            np.int32(options.limit),
        )


def _timed(spent: dict[str, float], part: str, compute: Callable[[], Any]) -> Any:
    start = time.perf_counter()
    result = compute()
    for tensor in tf.nest.flatten(result):
        np.asarray(tensor)
    spent[part] = time.perf_counter() - start
    return result

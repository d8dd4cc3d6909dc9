"""An engine without a framework: NumPy computes the network, exactly, and slowly."""

from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from maskrcnn_network.engine import Integers, Intermediate, Output, RankedBoxes, RunOptions
from maskrcnn_network.graph.network import Network, Stages, Variables
from maskrcnn_network.preparation import Floats
from maskrcnn_network.testing.numpy_operations import NumPyOperations
from maskrcnn_server.backend import Image, Precision
from maskrcnn_server.engine import Setup
from maskrcnn_server.errors import InvalidSetting
from maskrcnn_server.rle import Size


class FakeEngine:
    """Computes networks of a few channels, as the reference for other engines."""

    name = "numpy"

    def lacks(self, device: str, precision: Precision, /) -> str | None:
        if device != "cpu":
            return "computes on CPUs only"
        return None if precision == "float32" else f"computes in float32, not in {precision}"

    def open(self, network: Network, variables: Variables, setup: Setup, /) -> "FakeSession":
        if lack := self.lacks(setup.device, setup.precision):
            raise InvalidSetting(lack)
        return FakeSession(network, variables)


class FakeSession:
    """A network with its weights."""

    facts: ClassVar[dict[str, str]] = {"library": f"NumPy {np.__version__}"}

    def __init__(self, network: Network, variables: Variables) -> None:
        self._network = network
        self._ops = NumPyOperations(network.folded(variables, channels_last=True))

    def run(self, images: Sequence[Image], sizes: Sequence[Size], options: RunOptions, /) -> Output:
        return self._output(self._stages(images, sizes, options), options)

    def close(self) -> None:
        """Nothing to free."""

    def stages(self, image: Image, size: Size, options: RunOptions, /) -> Intermediate:
        stages = self._stages([image], [size], options)
        features = tuple(feature[0] for feature in stages.features)
        return Intermediate(features, self._output(stages, options, proposals=True))

    def masks_of(self, features: Sequence[Floats], boxes: Floats, labels: Integers, /) -> Floats:
        maps, images = [feature[None] for feature in features], np.zeros(len(boxes), np.int64)
        return np.asarray(self._network.masks(self._ops, maps, boxes, labels, images))

    def _stages(
        self, images: Sequence[Image], sizes: Sequence[Size], options: RunOptions
    ) -> Stages:
        rule = self._network.config.preparation
        pixels = rule.batch(images, sizes, rule.padded_size(sizes[0]))
        threshold = np.float32(options.score_threshold)
        own_sizes = np.array(sizes, np.float32)
        return self._network.detect(self._ops, pixels, own_sizes, threshold, options.limit)

    def _output(self, stages: Stages, options: RunOptions, *, proposals: bool = False) -> Output:
        found, seen, masks = stages.found, stages.proposals, None
        if options.masks and self._network.architecture.has_masks:
            boxes, _, labels, images = found
            masks = self._network.masks(self._ops, stages.features, boxes, labels, images)
        return Output(
            *found,
            masks,
            RankedBoxes(seen.boxes, seen.scores, seen.slots.images, stages.probabilities)
            if proposals or options.proposals
            else None,
        )

"""The whole network, from a batch of images to detections and masks."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from maskrcnn_network.architecture import Architecture
from maskrcnn_network.checkpoints.rows import channels_first
from maskrcnn_network.config import NetworkConfig
from maskrcnn_network.graph import heads, rpn, selection
from maskrcnn_network.graph.body import Body, body
from maskrcnn_network.graph.folding import Folded, Weights, fold
from maskrcnn_network.graph.operations import Map, Operations, Tensor
from maskrcnn_network.graph.rpn import Proposals
from maskrcnn_network.graph.rules import Rules
from maskrcnn_network.graph.selection import Detected

Variables = Mapping[str, NDArray[np.float32]]
"""The network's variables by checkpoint name; rows of flattened regions run y, x, channel."""


class Stages(NamedTuple):
    """What `Network.detect` computes, stage by stage, in network coordinates."""

    features: list[Map]
    proposals: Proposals
    probabilities: Tensor
    """Class probabilities of the proposals, float32 (P, 1 + classes), background first."""
    found: Detected


@dataclass(frozen=True)
class Network:
    """A Mask R-CNN without its weights, independent of the engine that computes it.

    Images are RGB minus `config.rgb_mean`, padded with zeros on the right and on the bottom to
    multiples of `config.stride`; `sizes` float32 (batch, 2: height, width) exclude the padding.
    """

    architecture: Architecture
    config: NetworkConfig
    rules: Rules

    @cached_property
    def body(self) -> Body:
        """The part that makes feature maps and takes regions from them."""
        return body(self.architecture, self.config, self.rules)

    def folded(self, variables: Variables, *, channels_last: bool) -> Folded:
        """The layers of `variables` for an engine that flattens with or without channels last.

        Unless channels are last, kernels of convolutions are (out, in, height, width) in memory.
        """
        if channels_last:
            return fold(variables, self.config)
        rows = {name: channels_first(variables[name]) for name in self.architecture.flattening}
        folded = fold({**variables, **rows}, self.config)
        layers = {name: _out_first(weights) for name, weights in folded.layers.items()}
        return Folded(layers, folded.norms)

    def detect(
        self,
        ops: Operations,
        images: Map,
        sizes: Tensor,
        score_threshold: Tensor,
        limit: int | Tensor,
    ) -> Stages:
        """Detections that reach the score threshold, at most `limit` of each image."""
        features = self.features(ops, images)
        proposals = self.proposals(ops, features, images, sizes)
        probabilities, found = self.found(ops, features, proposals, sizes, score_threshold, limit)
        return Stages(features, proposals, probabilities, found)

    def features(self, ops: Operations, images: Map) -> list[Map]:
        """The feature maps of images."""
        return self.body.features(ops, images)

    def proposals(
        self, ops: Operations, features: list[Map], images: Map, sizes: Tensor
    ) -> Proposals:
        """The proposals of the region proposal network."""
        return rpn.propose(ops, self.body, features, images, sizes, self.config, self.rules)

    def found(
        self,
        ops: Operations,
        features: list[Map],
        proposals: Proposals,
        sizes: Tensor,
        score_threshold: Tensor,
        limit: int | Tensor,
    ) -> tuple[Tensor, Detected]:
        """Class probabilities of the proposals, and the detections."""
        architecture, config, rules = self.architecture, self.config, self.rules
        probabilities, class_boxes = heads.classify(
            ops, self.body, features, proposals, sizes, architecture, config, rules
        )
        return probabilities, selection.select(
            ops,
            probabilities,
            class_boxes,
            proposals,
            score_threshold,
            limit,
            architecture,
            config,
            rules,
        )

    def masks(
        self, ops: Operations, features: list[Map], boxes: Tensor, labels: Tensor, images: Tensor
    ) -> Tensor:
        """Mask probabilities float32 (D, m, m) of any boxes (D, 4) and labels in images (D,)."""
        return heads.masks(ops, self.body, features, boxes, labels, images, self.architecture)


def _out_first(weights: Weights) -> Weights:
    """The same weights in the memory order that engines use without a copy."""
    kernel, bias = weights
    if kernel.ndim != 4:
        return weights
    return Weights(np.ascontiguousarray(kernel.transpose(3, 2, 0, 1)).transpose(2, 3, 1, 0), bias)

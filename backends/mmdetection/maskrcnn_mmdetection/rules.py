"""MMDetection's own rules of the network."""

import math

from maskrcnn_mmdetection.config import MMDetectionConfig, divisors
from maskrcnn_network.graph.frames import ClampedFrame
from maskrcnn_network.graph.rules import Rules, Sampling

MIN_SIDE = 1e-30
"""Minimum side of a proposal that must be longer than 0."""


def rules(config: MMDetectionConfig) -> Rules:
    """The rules of a network with this configuration."""
    return Rules(
        candidates=config.level_candidates,
        kept=config.level_candidates,
        proposals=config.proposals,
        sigmoid="before",
        delta_clip=config.delta_clip,
        regression_weights=divisors(config.proposal_std),
        min_sides=(max(math.nextafter(config.min_size, math.inf), MIN_SIDE),),
        frame=ClampedFrame(),
        sampling=Sampling(samples=0),
        level_epsilon=2.5e-7,
        anchors_by_ratio=config.anchors_by_ratio,
        averaged="logits",
    )

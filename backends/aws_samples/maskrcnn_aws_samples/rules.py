"""AWS Samples' own rules of the network."""

import math

from maskrcnn_aws_samples.config import AwsSamplesConfig
from maskrcnn_network.graph.rules import Rules, Sampling

MAX_DELTA = math.log(1000 / 16)
"""Maximum dw and dh of a box regression (natural logarithm)."""


def rules(config: AwsSamplesConfig) -> Rules:
    """The rules of a network with this configuration."""
    return Rules(
        candidates=config.level_candidates,
        kept=config.level_proposals,
        proposals=config.proposals,
        sigmoid="before",
        delta_clip=MAX_DELTA,
        min_sides=tuple(config.min_size / stride for stride in config.anchor_strides),
        # Regions are moved by the half pixel that RoIAlign subtracts.
        sampling=Sampling(samples=1, shift=0.5),
    )

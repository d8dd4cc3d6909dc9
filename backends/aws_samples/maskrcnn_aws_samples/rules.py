"""What AWS Samples' network computes in its own way, as numbers: see `operators`."""

import math

from maskrcnn_aws_samples.config import AwsSamplesConfig
from maskrcnn_network.graph.rules import Rules, Sampling

DELTA_CLIP = math.log(1000 / 16)


def rules(config: AwsSamplesConfig) -> Rules:
    """The rules of a network that is configured like this."""
    return Rules(
        candidates=config.level_candidates,
        kept=config.level_proposals,
        proposals=config.proposals,
        sigmoid="before",
        delta_clip=DELTA_CLIP,
        min_sides=tuple(config.min_size / stride for stride in config.anchor_strides),
        # Moved by the half pixel that RoIAlign takes off.
        sampling=Sampling(samples=1, shift=0.5),
    )

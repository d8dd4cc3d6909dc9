"""What Detectron2's network computes in its own way, as numbers: see `operators`."""

from maskrcnn_detectron2.config import Detectron2Config
from maskrcnn_network.graph.rules import Rules, Sampling

NO_AREA = 1e-30
"""Shorter sides than this are none."""


def rules(config: Detectron2Config) -> Rules:
    """The rules of a network that is configured like this."""
    return Rules(
        candidates=config.level_candidates,
        kept=config.level_candidates,
        proposals=config.proposals,
        delta_clip=config.delta_clip,
        min_sides=(max(config.min_size, NO_AREA),),
        sampling=Sampling(samples=0),
        level_epsilon=1e-8,
    )

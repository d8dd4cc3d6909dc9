"""Detectron2's own rules of the network."""

from maskrcnn_detectron2.config import Detectron2Config
from maskrcnn_network.graph.rules import Rules, Sampling

MIN_SIDE = 1e-30
"""Minimum side of a proposal, so that it has an area."""


def rules(config: Detectron2Config) -> Rules:
    """The rules of a network with this configuration."""
    return Rules(
        candidates=config.level_candidates,
        kept=config.level_candidates,
        proposals=config.proposals,
        delta_clip=config.delta_clip,
        min_sides=(max(config.min_size, MIN_SIDE),),
        sampling=Sampling(samples=0),
        level_epsilon=1e-8,
    )

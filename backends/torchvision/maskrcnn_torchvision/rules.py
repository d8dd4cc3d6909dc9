"""torchvision's own rules of the network."""

from maskrcnn_network.graph.rules import Rules, Sampling
from maskrcnn_torchvision.config import TorchvisionConfig

MIN_SIDE = 1e-3
"""Minimum side of a proposal, in pixels of the resized image."""


def rules(config: TorchvisionConfig) -> Rules:
    """The rules of a network with this configuration."""
    return Rules(
        candidates=config.level_candidates,
        kept=config.level_candidates,
        proposals=config.proposals,
        sigmoid="after",
        delta_clip=config.delta_clip,
        min_sides=(MIN_SIDE,),
        score_floor=config.proposal_score_floor,
        sampling=Sampling(samples=2, half_pixel=False),
        octave_epsilon=1e-6,
        fitted_anchors=True,
        anchors_by_ratio=True,
    )

"""Matterport's own rules of the network."""

from maskrcnn_matterport.config import MatterportConfig, divisors
from maskrcnn_network.graph.frames import NormalisedFrame
from maskrcnn_network.graph.rules import Rules, Sampling


def rules(config: MatterportConfig) -> Rules:
    """The rules of a network with this configuration."""
    return Rules(
        candidates=config.proposal_candidates,
        kept=config.proposals,
        proposals=config.proposals,
        together=True,
        filled=True,
        sigmoid="before",
        delta_clip=config.delta_clip,
        regression_weights=divisors(config.proposal_std),
        frame=NormalisedFrame(),
        sampling=Sampling(samples=1),
        octave_epsilon=0.5,
        best_class_only=True,
    )

"""TensorPack's own rules of the network."""

from maskrcnn_network.graph.rules import Rules, Sampling
from maskrcnn_network.tensorpack_config import TensorPackConfig


def rules(config: TensorPackConfig) -> Rules:
    """The rules of a network with this configuration."""
    together = config.proposal_mode == "Joint" or config.mode_fpn is False
    candidates = config.joint_candidates if together else config.proposals
    proposals = config.joint_proposals if together else config.proposals
    return Rules(
        candidates=candidates,
        kept=proposals,
        proposals=proposals,
        together=together,
        delta_clip=config.delta_clip,
        min_sides=(config.min_size,) if config.min_size > 0 else (),
        sampling=Sampling(samples=2),
        level_epsilon=1e-6,
    )

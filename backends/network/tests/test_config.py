"""What is configured against what the weights say."""

from dataclasses import replace

import pytest

from maskrcnn_network.config import NetworkConfig
from maskrcnn_network.testing.networks import C4, FPN


@pytest.mark.parametrize("ratios", [(0.5, 1.0, 2.0), (1.0, 2.0)], ids=["as trained", "others"])
def test_anchors_that_the_weights_of_c4_do_not_have_are_a_problem(
    ratios: tuple[float, ...],
) -> None:
    """One map has the anchors of all sizes."""
    said = NetworkConfig(anchor_ratios=ratios).contradictions(replace(C4, anchors=15))
    wrong = f"anchor_ratios is configured as {5 * len(ratios)}, but the weights have 15"
    assert (wrong in said) == (len(ratios) != 3)


def test_anchors_of_a_pyramid_are_those_of_one_size() -> None:
    said = NetworkConfig(anchor_ratios=(1.0,)).contradictions(replace(FPN, anchors=3))
    assert "anchor_ratios is configured as 1, but the weights have 3" in said

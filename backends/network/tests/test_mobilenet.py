"""What a MobileNet's shapes tell."""

from dataclasses import replace

import pytest

from maskrcnn_network.architecture import Architecture, read_off
from maskrcnn_network.checkpoints.differences import differences
from maskrcnn_network.mobilenet import MobileNet
from maskrcnn_network.testing.networks import MOBILENET


def shape(**changes: object) -> tuple[Architecture, MobileNet]:
    """The small network with another MobileNet."""
    assert MOBILENET.mobilenet is not None
    changed = replace(MOBILENET.mobilenet, **changes)  # type: ignore[arg-type]
    return replace(MOBILENET, mobilenet=changed), changed


@pytest.mark.parametrize("returned", [(9, 12), (4, 9, 12), (2, 4), (2, 4, 9)])
def test_what_the_pyramid_takes_is_told_by_its_channels(
    returned: tuple[int, ...],
) -> None:
    architecture, mobilenet = shape(returned=returned)
    assert read_off(architecture.variables()).mobilenet == mobilenet


def test_a_network_may_end_with_the_last_block_that_the_pyramid_takes() -> None:
    widths = MOBILENET.mobilenet.widths if MOBILENET.mobilenet else ()
    architecture, mobilenet = shape(widths=widths[:9], last=0, returned=(4, 9))
    found = read_off(architecture.variables())
    assert found.mobilenet == mobilenet
    assert found.levels == 3


def test_a_missing_block_is_named() -> None:
    shapes = MOBILENET.variables()
    rest = {name: value for name, value in shapes.items() if not name.startswith("inverted5/")}
    problems = differences(rest, read_off(rest))
    assert any("unexpected: inverted6/" in problem for problem in problems)


def test_a_kernel_of_no_known_network_is_named() -> None:
    shapes = MOBILENET.variables() | {"inverted4/depthwise/W": (7, 7, 1, 16)}
    assert "inverted4/depthwise/W is (7, 7, 1, 16), expected (5, 5, 1, 16)" in " ".join(
        differences(shapes, read_off(shapes))
    )

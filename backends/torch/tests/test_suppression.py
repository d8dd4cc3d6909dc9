"""Selection and suppression against plain references."""

from itertools import product

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from maskrcnn_torch.suppression import MAX_SHORT, suppress, top

Boxes = NDArray[np.float32]


def greedy(boxes: Boxes, present: NDArray[np.bool_], threshold: float) -> NDArray[np.bool_]:
    """The definition, box after box, in float32; `boxes` (N, 4)."""
    keep = present.copy()
    x1, y1, x2, y2 = boxes.T
    areas = (y2 - y1) * (x2 - x1)
    for i in range(len(boxes)):
        if not keep[i] or areas[i] <= 0:
            continue
        width = np.minimum(x2[i], x2) - np.maximum(x1[i], x1)
        height = np.minimum(y2[i], y2) - np.maximum(y1[i], y1)
        common = np.maximum(height, np.float32(0)) * np.maximum(width, np.float32(0))
        with np.errstate(invalid="ignore"):
            over = common / (areas[i] + areas - common) > np.float32(threshold)
        over &= areas > 0
        over[: i + 1] = False
        keep &= ~over
    return keep


def crowd(seed: int, count: int, whole: bool) -> Boxes:
    """Boxes around a few centres. `whole`: of small whole coordinates, with many twins, equal
    overlaps and boxes without area."""
    made = np.random.default_rng(seed)
    if whole:
        low = made.integers(0, 6, (count, 2))
        return np.concatenate([low, low + made.integers(0, 5, (count, 2))], 1).astype(np.float32)
    centres = made.uniform(0, 300, (8, 2))[made.integers(0, 8, count)] + made.normal(
        0, 8, (count, 2)
    )
    extents = np.exp(made.normal(3.5, 0.4, (count, 2)))
    boxes = np.concatenate([centres - extents / 2, centres + extents / 2], 1)
    return boxes.clip(0, 300).astype(np.float32)


def chain(count: int) -> Boxes:
    """Each box overlaps the next alone by more than half: every second one stays."""
    low = np.arange(count, dtype=np.float32) * 3
    return np.stack([low, low * 0, low + 10, low * 0 + 10], 1)


@pytest.mark.parametrize("whole", [False, True], ids=["crowd", "whole-numbers"])
@pytest.mark.parametrize("threshold", [0.0, 0.25, 0.5, 0.7])
@pytest.mark.parametrize("count", [1, 2, 40, 255, 256, 257, 600])
def test_boxes_are_kept_as_in_the_reference(count: int, threshold: float, whole: bool) -> None:
    pools = np.stack([crowd(seed, count, whole) for seed in range(3)])
    present = np.random.default_rng(9).random((3, count)) < 0.9
    present[2] = False
    expected = np.stack([greedy(b, p, threshold) for b, p in zip(pools, present, strict=True)])
    boxes, there = torch.from_numpy(pools), torch.from_numpy(present)
    np.testing.assert_array_equal(suppress(boxes, there, threshold).numpy(), expected)


def test_long_chains_are_settled() -> None:
    boxes, present = torch.from_numpy(chain(700)), torch.ones(700, dtype=torch.bool)
    assert torch.equal(suppress(boxes, present, 0.5), torch.arange(700) % 2 == 0)


def test_any_number_of_pools_is_allowed() -> None:
    boxes = torch.from_numpy(np.stack([crowd(i, 30, False) for i in range(6)]))
    present = torch.ones((6, 30), dtype=torch.bool)
    deep = suppress(boxes.view(2, 3, 30, 4), present.view(2, 3, 30), 0.5)
    assert torch.equal(deep, suppress(boxes, present, 0.5).view(2, 3, 30))


@pytest.mark.parametrize("shape", [(0,), (3, 0)])
def test_no_boxes_are_allowed(shape: tuple[int, ...]) -> None:
    boxes, present = torch.zeros((*shape, 4)), torch.zeros(shape, dtype=torch.bool)
    assert suppress(boxes, present, 0.5).shape == shape


def test_once_enough_are_kept_nothing_further_behind_matters() -> None:
    boxes, present = torch.from_numpy(chain(2000)), torch.ones(2000, dtype=torch.bool)
    found = suppress(boxes, present, 0.5, 100)
    assert torch.equal(found[:200], torch.arange(200) % 2 == 0)
    assert not found[1000:].any()


def test_the_best_come_first_and_of_equals_the_first() -> None:
    made = np.random.default_rng(3)
    scores = np.round(made.normal(0, 1, (3, 500)), 1).astype(np.float32)
    scores[0, :40] = [0.0, -0.0] * 20
    scores[1, 100:200], scores[1, 5], scores[2] = -np.inf, np.inf, 0.5
    values, index = top(torch.from_numpy(scores), 450)
    expected = np.argsort(-scores, axis=1, kind="stable")[:, :450]
    np.testing.assert_array_equal(index.numpy(), expected)
    np.testing.assert_array_equal(values.numpy(), np.take_along_axis(scores, expected, 1))


def test_fewer_than_wanted_are_followed_by_missing_ones() -> None:
    values, index = top(torch.tensor([[0.25, 0.5]]), 4)
    assert values.tolist() == [[0.5, 0.25, -np.inf, -np.inf]]
    assert index.tolist() == [[1, 0, 0, 0]]


def compare_suppress() -> None:
    """Lists of crowds and chains, some candidates of which are missing."""
    from maskrcnn_torch import suppression_kernel as module

    cases = (1, 0.5), (33, 0.0), (300, 0.7), (200, 0.25)
    for limit, (count, threshold) in product((MAX_SHORT, 0), cases):
        vars(module)["MAX_SHORT"] = limit
        pools = [crowd(1, count, False), crowd(2, count, True), chain(count), chain(count)]
        boxes = torch.from_numpy(np.stack(pools))
        present = torch.arange(count) < torch.tensor([[count], [count * 2 // 3], [count], [0]])
        if limit:  # some may be missing among others
            present[2, ::3] = False
        for keep in (count, 5):
            found = module.fused_suppress(boxes, present, threshold, keep)
            for row, stays in zip(found, suppress(boxes, present, threshold), strict=True):
                expected = stays.nonzero()[:keep, 0]
                assert torch.equal(row[: len(expected)], expected)
                assert (row[len(expected) :] == -1).all()

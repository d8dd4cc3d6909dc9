import re
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from maskrcnn_server.detections import Detections
from maskrcnn_server.masks import BitMasks, Masks
from maskrcnn_server.rle import Size

WHOLE = (0.0, 0.0, 8.0, 5.0)


def detections(
    size: Size = (5, 8),
    boxes: object = (WHOLE, (1, 2, 3, 4)),
    scores: object = (0.9, 0.4),
    category_ids: object = (1, 7),
    masks: Masks | None = None,
) -> Detections:
    """Two instances in an image 8 wide and 5 high, but for what a test asks."""

    def array(values: object, dtype: type[np.generic]) -> NDArray[np.generic]:
        return values if isinstance(values, np.ndarray) else np.array(values, dtype)

    return Detections(
        size,
        array(boxes, np.float32),  # type: ignore[arg-type]
        array(scores, np.float32),  # type: ignore[arg-type]
        array(category_ids, np.int64),  # type: ignore[arg-type]
        masks,
    )


def bitmaps(n: int, size: Size) -> BitMasks:
    return BitMasks(np.zeros((n, *size), np.bool_))


@pytest.mark.parametrize("size", [(5, 8, 3), (5,)])
def test_a_size_is_a_height_and_a_width(size: Any) -> None:
    with pytest.raises(ValueError, match=r"size is \(height, width\): got"):
        detections(size=size)


def test_length_is_the_number_of_instances() -> None:
    assert len(detections()) == 2


def test_there_may_be_nothing() -> None:
    nothing = Detections(
        (5, 8),
        np.zeros((0, 4), np.float32),
        np.zeros(0, np.float32),
        np.zeros(0, np.int64),
        bitmaps(0, (5, 8)),
    )
    assert len(nothing) == 0


def test_limits_are_allowed() -> None:
    detections(boxes=(WHOLE, (8, 5, 8, 5)), scores=(1, 0), masks=bitmaps(2, (5, 8)))


def test_equal_scores_descend() -> None:
    detections(scores=(0.5, 0.5))


@pytest.mark.parametrize(
    "boxes",
    [
        pytest.param((WHOLE,), id="too few"),
        pytest.param(((0, 0, 1), (0, 0, 1)), id="three numbers"),
        pytest.param(np.zeros((2, 4), np.float64), id="float64"),
        pytest.param(np.zeros((2, 4), np.int64), id="integers"),
    ],
)
def test_boxes_are_float32_n_by_4(boxes: object) -> None:
    with pytest.raises(ValueError, match=r"break a rule: boxes are float32 \(N, 4\)"):
        detections(boxes=boxes)


@pytest.mark.parametrize(
    "scores",
    [
        pytest.param(((0.9,), (0.4,)), id="two-dimensional"),
        pytest.param(np.array([0.9, 0.4], np.float64), id="float64"),
    ],
)
def test_scores_are_float32_n(scores: object) -> None:
    with pytest.raises(ValueError, match=r"break a rule: scores are float32 \(N,\)"):
        detections(scores=scores)


@pytest.mark.parametrize(
    "ids",
    [
        pytest.param((1,), id="too few"),
        pytest.param(np.array([1, 7], np.int32), id="int32"),
        pytest.param(np.array([1, 7], np.float32), id="floats"),
    ],
)
def test_category_ids_are_int64_n(ids: object) -> None:
    with pytest.raises(ValueError, match=r"break a rule: category ids are int64 \(N,\)"):
        detections(category_ids=ids)


@pytest.mark.parametrize(
    "bad", [float("nan"), float("inf"), float("-inf")], ids=["nan", "inf", "-inf"]
)
def test_boxes_and_scores_are_finite(bad: float) -> None:
    with pytest.raises(ValueError, match="boxes and scores are finite"):
        detections(scores=(0.9, bad))
    with pytest.raises(ValueError, match="boxes and scores are finite"):
        detections(boxes=(WHOLE, (0, 0, bad, 1)))


@pytest.mark.parametrize("scores", [(1.01, 0.4), (0.9, -0.01)], ids=["above 1", "below 0"])
def test_scores_are_from_0_to_1(scores: tuple[float, float]) -> None:
    with pytest.raises(ValueError, match="scores are from 0 to 1"):
        detections(scores=scores)


def test_scores_descend() -> None:
    with pytest.raises(ValueError, match="scores descend"):
        detections(scores=(0.4, 0.9))


@pytest.mark.parametrize("background", [0, -1])
def test_category_ids_begin_at_1(background: int) -> None:
    with pytest.raises(ValueError, match="category ids begin at 1"):
        detections(category_ids=(1, background))


@pytest.mark.parametrize("box", [(3, 2, 1, 4), (1, 4, 3, 2)], ids=["x", "y"])
def test_corners_are_in_order(box: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="x1 <= x2 and y1 <= y2"):
        detections(boxes=(WHOLE, box))


@pytest.mark.parametrize(
    "box",
    [(-0.1, 0, 1, 1), (0, -0.1, 1, 1), (0, 0, 8.1, 1), (0, 0, 1, 5.1)],
    ids=["left", "above", "right", "below"],
)
def test_boxes_are_inside_the_image(box: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="boxes are inside the image"):
        detections(boxes=(WHOLE, box))


def test_there_is_a_mask_for_each_box() -> None:
    with pytest.raises(ValueError, match="there is a mask for each box"):
        detections(masks=bitmaps(1, (5, 8)))


def test_masks_are_of_the_images_size() -> None:
    with pytest.raises(ValueError, match="masks are of the image's size"):
        detections(masks=bitmaps(2, (8, 5)))


@pytest.mark.parametrize(
    ("broken", "value"),
    [
        ({"scores": np.array([0.9, 0.4])}, "got float64 (2,)"),
        ({"scores": (0.4, 0.9)}, "number 1 (from 0) is 0.8999"),
        (
            {"boxes": (WHOLE, (0, 0, 9, 1))},
            "8 x 5 pixels: number 1 (from 0) is [0.0, 0.0, 9.0, 1.0]",
        ),
        ({"masks": np.zeros((2, 5, 8))}, "got a ndarray"),
        ({"masks": bitmaps(1, (5, 8))}, "got 1 masks and 2 boxes"),
        ({"masks": bitmaps(2, (8, 5))}, "size, (5, 8): got (8, 5)"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_errors_name_the_value(broken: dict[str, Any], value: str) -> None:
    with pytest.raises(ValueError, match=re.escape(value)):
        detections(**broken)


def test_those_of_some_categories_are_the_best_of_them() -> None:
    four = detections(
        boxes=(WHOLE,) * 4, scores=(0.9, 0.8, 0.7, 0.6), category_ids=(1, 2, 1, 2), masks=None
    )
    assert four.of_categories({2}, None).scores.tolist() == pytest.approx([0.8, 0.6])
    assert four.of_categories([1, 2], 3).category_ids.tolist() == [1, 2, 1]
    assert len(four.of_categories({3}, None)) == 0
    assert len(replace(four, masks=bitmaps(4, (5, 8))).of_categories({1}, 1).masks or ()) == 1

from collections.abc import Sequence

import numpy as np
import pytest

from maskrcnn_annotation_formats.drawing import colour, overlay
from maskrcnn_server.categories import named
from maskrcnn_server.detections import Detections
from maskrcnn_server.masks import BitMasks

Box = tuple[float, float, float, float]

CATEGORIES = named(["cat", "dog"])


def found(
    boxes: Sequence[Sequence[float]], size: tuple[int, int], masked: bool = True
) -> Detections:
    n = len(boxes)
    bitmaps = np.zeros((n, *size), np.bool_)
    for bitmap, (x1, y1, x2, y2) in zip(bitmaps, boxes, strict=True):
        bitmap[int(y1) : int(y2), int(x1) : int(x2)] = True
    return Detections(
        size=size,
        boxes=np.array(boxes, np.float32).reshape(-1, 4),
        scores=np.linspace(0.9, 0.6, n, dtype=np.float32),
        category_ids=np.ones(n, np.int64),
        masks=BitMasks(bitmaps) if masked else None,
    )


def test_the_mask_is_tinted_and_the_rest_is_left() -> None:
    gray = np.full((120, 160, 3), 100, np.uint8)
    picture = np.asarray(overlay(gray, found([(40, 50, 100, 100)], (120, 160)), CATEGORIES))
    assert picture.shape == gray.shape
    assert (picture[75, 70] != 100).any()
    assert (picture[110:, 120:] == 100).all()
    assert (gray == 100).all()


def test_boxes_without_masks_are_outlined_only() -> None:
    gray = np.full((120, 160, 3), 100, np.uint8)
    drawn = overlay(gray, found([(40, 50, 100, 100)], (120, 160), masked=False), CATEGORIES)
    picture = np.asarray(drawn)
    assert (picture[75, 70] == 100).all()
    assert (picture[75, 40] != 100).any()


def test_nothing_found_leaves_the_image_as_it_is() -> None:
    gray = np.full((12, 16, 3), 100, np.uint8)
    assert (np.asarray(overlay(gray, found([], (12, 16)), CATEGORIES)) == 100).all()


def test_neighbours_have_different_colours() -> None:
    boxes: list[Box] = [(0, 100, 50, 150), (60, 100, 110, 150), (120, 100, 170, 150)]
    black = np.zeros((200, 200, 3), np.uint8)
    picture = np.asarray(overlay(black, found(boxes, (200, 200)), CATEGORIES))
    assert len({tuple(picture[125, x].tolist()) for x in (25, 85, 145)}) == 3


def test_the_best_is_on_top() -> None:
    boxes: list[Box] = [(20, 20, 180, 180), (0, 0, 200, 200)]
    black = np.zeros((200, 200, 3), np.uint8)
    both = np.asarray(overlay(black, found(boxes, (200, 200)), CATEGORIES))
    best = np.asarray(overlay(black, found(boxes[:1], (200, 200)), CATEGORIES))
    distance = np.abs(both[100, 100].astype(int) - best[100, 100])
    under = np.abs(both[100, 100].astype(int) - both[100, 10])
    assert distance.sum() < under.sum()


@pytest.mark.parametrize("size", [(1, 1), (2, 300), (300, 2)], ids=lambda s: f"{s[1]}x{s[0]}")
def test_labels_that_do_not_fit_are_no_error(size: tuple[int, int]) -> None:
    whole = (0.0, 0.0, float(size[1]), float(size[0]))
    black = np.zeros((*size, 3), np.uint8)
    assert overlay(black, found([whole], size), CATEGORIES).size == (size[1], size[0])


def test_a_box_without_area_is_no_error() -> None:
    black = np.zeros((20, 20, 3), np.uint8)
    overlay(black, found([(5, 5, 5, 5)], (20, 20)), CATEGORIES)


def test_labels_of_boxes_at_one_place_stand_below_each_other() -> None:
    """Three boxes, nearly the same: each label's colour is there, as a bar of its own."""
    boxes: list[Box] = [(60, 60 + i, 190, 190) for i in range(3)]
    black = np.zeros((200, 200, 3), np.uint8)
    picture = np.asarray(overlay(black, found(boxes, (200, 200), masked=False), CATEGORIES))
    for i in range(3):
        inside = (picture == np.array(colour(i), np.uint8)).all(2)[:, 64:110]
        assert (inside.sum(1) > 8).sum() >= 8

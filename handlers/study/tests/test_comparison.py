"""Which detections of two results match, and which images are the worst."""

from collections.abc import Sequence
from dataclasses import replace
from io import BytesIO

import numpy as np
import PIL.Image
import pytest

from maskrcnn_predict.predictors import ImageResult
from maskrcnn_server.categories import Category
from maskrcnn_server.detections import Detections
from maskrcnn_server.masks import BitMasks
from maskrcnn_study.comparison import Totals, box_ious, difference
from maskrcnn_study.gallery import Gallery, in_words

SIZE = (20, 30)


def result(
    *boxes: Sequence[float], names: str = "", scores: Sequence[float] = (), masks: bool = True
) -> ImageResult:
    """Each box filled, its category named by a letter, all `a` if none are given."""
    letters = names or "a" * len(boxes)
    corners = np.array(boxes, np.float32).reshape(-1, 4)
    bitmaps = np.zeros((len(boxes), *SIZE), np.bool_)
    for bitmap, (x1, y1, x2, y2) in zip(bitmaps, corners.astype(int), strict=True):
        bitmap[y1:y2, x1:x2] = True
    known = {letter: ord(letter) - 96 for letter in letters}
    file = BytesIO()
    PIL.Image.new("RGB", SIZE[::-1]).save(file, "PNG")
    found = Detections(
        size=SIZE,
        boxes=corners,
        scores=np.array(scores or [0.5] * len(boxes), np.float32),
        category_ids=np.array([known[letter] for letter in letters], np.int64),
        masks=BitMasks(bitmaps) if masks else None,
    )
    categories = tuple(Category(i, letter, i) for letter, i in known.items())
    return ImageResult(found, categories, (), file.getvalue())


def test_iou_is_what_both_have_of_what_either_has() -> None:
    one = np.array([[0, 0, 10, 10], [5, 5, 5, 5]], np.float32)
    other = np.array([[0, 0, 10, 10], [5, 0, 15, 10], [20, 0, 30, 10]], np.float32)
    expected = np.array([[1, 1 / 3, 0], [0, 0, 0]])
    np.testing.assert_allclose(box_ious(one, other), expected)
    np.testing.assert_allclose(box_ious(other, one), expected.T)


def test_what_overlaps_most_is_matched_first() -> None:
    a = result([0, 0, 10, 10], [1, 0, 11, 10])
    b = result([1, 0, 11, 10], [20, 10, 30, 20])
    found = difference(a, b)
    assert (found.pairs, found.only_a, found.only_b) == ([(1, 0)], [0], [1])
    assert found.mask_ious.tolist() == found.box_ious.tolist() == [1]


def test_categories_are_the_same_by_name() -> None:
    """Two models may number them differently."""
    a, b = result([0, 0, 10, 10], names="a"), result([0, 0, 10, 10], names="b")
    assert difference(a, b).pairs == []
    renumbered = replace(b, categories=(Category(2, "a", 2),))
    assert difference(a, renumbered).pairs == [(0, 0)]


@pytest.mark.parametrize(
    ("a", "b", "count"),
    [
        ({1: "cat"}, {1: "class_1"}, 1),
        ({1: "class_1"}, {7: "class_1"}, 1),
        ({3: "class_3"}, {1: "cat"}, 0),
        ({1: "Hot Dog"}, {7: "hot_dog"}, 1),
        ({1: "cat", 2: "CAT"}, {1: "Cat"}, 0),
    ],
)
def test_classes_are_compared_as_they_are_evaluated(
    a: dict[int, str], b: dict[int, str], count: int
) -> None:
    """By name, else by number for want of one, and never by a guess between two."""
    places = [[0, 0, 10, 10], [15, 0, 25, 10]]

    def named(names: dict[int, str]) -> ImageResult:
        found = result(*places[: len(names)])
        ids = np.array([*names], np.int64)
        categories = tuple(Category(i, name, i) for i, name in names.items())
        return replace(
            found, categories=categories, detections=replace(found.detections, category_ids=ids)
        )

    assert len(difference(named(a), named(b)).pairs) == count
    totals = Totals()
    totals.add_names(named(a), named(b))
    assert ("is taken for" in str(totals.notes)) == (count == 1 and {*a.values()} != {*b.values()})
    assert ("only" in str(totals.notes)) == (count == 0 or len(a) != len(b))


def test_scores_drift_from_a_to_b() -> None:
    found = difference(
        result([0, 0, 10, 10], scores=[0.75]), result([0, 0, 10, 10], scores=[0.25], masks=False)
    )
    assert found.score_drifts.tolist() == [-0.5]
    assert found.mask_ious.size == 0
    assert found.disagreement == 0.5


def test_answers_with_nothing_in_them_agree() -> None:
    found = difference(result(), result())
    totals = Totals()
    totals.add(found)
    assert (found.disagreement, totals.agreement) == (0, 1)
    assert totals.figures()["pictures"] == 1
    assert difference(result([0, 0, 9, 9]), result()).only_a == [0]


def test_what_differs_is_said() -> None:
    a = result([0, 0, 10, 10], [20, 0, 30, 10], [0, 12, 8, 20], scores=[0.9, 0.8, 0.7])
    b = result([0, 0, 10, 12], [20, 0, 30, 10], scores=[0.9, 0.5])
    assert in_words(a, b, difference(a, b)) == [
        "only A: a 0.70",
        "a 0.90 and 0.90: box IoU 0.83, mask IoU 0.83",
        "a 0.80 and 0.50",
    ]


@pytest.mark.parametrize("order", [(1, 2, 3, 0), (3, 2, 1, 0), (2, 0, 3, 1)])
def test_the_page_has_the_worst_and_no_more(order: tuple[int, ...]) -> None:
    gallery = Gallery(2)
    for surplus in order:
        a, b = result(*[[0, 0, 5, 5]] * surplus), result()
        gallery.add(f"picture {surplus}", a, b, difference(a, b))
    page = gallery.page("A", "B", Totals())
    assert page.index("picture 3") < page.index("picture 2")
    assert "picture 1" not in page
    assert "picture 0" not in page

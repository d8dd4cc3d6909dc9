import pytest

from maskrcnn_handlers.request.classes import ids
from maskrcnn_server.categories import coco, coco_with_gaps, named
from maskrcnn_server.errors import RequestError


def test_classes_are_chosen_by_name_or_index() -> None:
    assert ids(["person", 3, "17"], coco()) == {1, 3, 17}


def test_a_name_of_digits_is_a_name_first() -> None:
    assert ids(["2"], named(["2", "1"])) == {1}
    assert ids([2], named(["2", "1"])) == {2}


def test_a_name_that_several_classes_have_chooses_them_all() -> None:
    assert len(ids(["N/A"], coco_with_gaps())) == 10


@pytest.mark.parametrize("one", ["persn", "Person", 0, 81, -1, "81", 10**30, "²", ""])
def test_a_class_that_there_is_not_is_refused(one: str | int) -> None:
    with pytest.raises(RequestError, match="classes: the model has no class") as refused:
        ids(["person", one], coco())
    assert refused.value.detail["field"] == "classes"
    assert "1 to 80" in refused.value.message


def test_a_misspelt_class_is_told_the_nearest() -> None:
    with pytest.raises(RequestError, match="the nearest are bus") as refused:
        ids(["buss"], coco())
    assert "bus" in str(refused.value.detail["nearest"])

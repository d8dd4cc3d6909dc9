import dataclasses
from typing import Any

import pytest

from maskrcnn_handlers.request.options import class_ids, resolved
from maskrcnn_server.backend import ModelMetadata, PredictOptions
from maskrcnn_server.categories import coco, coco_with_gaps, named
from maskrcnn_server.errors import RequestError
from maskrcnn_server.options import Options
from maskrcnn_server.settings import ModelDefaults

METADATA = ModelMetadata(
    name="a",
    backend="fake",
    categories=named(["cat", "dog"]),
    score_threshold=0.3,
    max_detections=50,
)
NOTHING = Options()
UNSET = ModelDefaults()


def test_what_nobody_says_the_model_says_itself() -> None:
    options = resolved(NOTHING, UNSET, METADATA)
    assert options.predict == PredictOptions(score_threshold=0.3, max_detections=50)
    assert (options.category_ids, options.max_detections, options.rle) == (None, 50, None)


def test_the_request_wins_over_the_defaults_and_they_over_the_model() -> None:
    defaults = ModelDefaults(score_threshold=0.6, mask_threshold=0.7, masks=False, rle="columns")
    options = resolved(Options(score_threshold=0.0, masks=True), defaults, METADATA)
    assert options.predict == PredictOptions(
        score_threshold=0.0, mask_threshold=0.7, max_detections=50, masks=True
    )
    assert options.rle == "columns"


def test_null_says_nothing() -> None:
    asked = Options(score_threshold=None, max_detections=None)
    assert resolved(asked, ModelDefaults(max_detections=7), METADATA).predict.max_detections == 7


@pytest.mark.parametrize(("asked", "limit"), [(None, 50), (2, 50), (80, 80)])
def test_of_some_classes_the_best_are_kept_not_those_among_the_best(
    asked: int | None, limit: int
) -> None:
    options = resolved(Options(classes=["dog"], max_detections=asked), UNSET, METADATA)
    assert options.category_ids == frozenset({2})
    assert options.predict.max_detections == limit
    assert options.max_detections == (asked or 50)


def test_an_unknown_class_is_refused() -> None:
    with pytest.raises(RequestError, match="the model has no class 'cow'"):
        resolved(Options(classes=["cow"]), UNSET, METADATA)


@pytest.mark.parametrize("options", [{"overlap": 0.5}, {"overview": True}])
def test_options_of_tiles_without_tiles_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(RequestError, match="it needs `tile`"):
        resolved(Options(**options), UNSET, METADATA)
    assert resolved(Options(**options), ModelDefaults(tile="64"), METADATA).tiles is not None


def test_predict_options_hold_no_none() -> None:
    values = dataclasses.asdict(resolved(NOTHING, UNSET, METADATA).predict).values()
    assert None not in values


def test_classes_are_chosen_by_name_or_index() -> None:
    assert class_ids(["person", 3, "17"], coco()) == {1, 3, 17}


def test_a_name_of_digits_is_a_name_first() -> None:
    assert class_ids(["2"], named(["2", "1"])) == {1}
    assert class_ids([2], named(["2", "1"])) == {2}


def test_a_name_that_several_classes_have_chooses_them_all() -> None:
    assert len(class_ids(["N/A"], coco_with_gaps())) == 10


@pytest.mark.parametrize("one", ["persn", "Person", 0, 81, -1, "81", 10**30, "²", ""])
def test_a_class_that_there_is_not_is_refused(one: str | int) -> None:
    with pytest.raises(RequestError, match="classes: the model has no class") as refused:
        class_ids(["person", one], coco())
    assert refused.value.detail["field"] == "classes"
    assert "1 to 80" in refused.value.message


def test_a_misspelt_class_is_told_the_nearest() -> None:
    with pytest.raises(RequestError, match="the nearest are bus") as refused:
        class_ids(["buss"], coco())
    assert "bus" in str(refused.value.detail["nearest"])

"""Conformance checks of options: each is obeyed, in every image of a call, and alone."""

from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from maskrcnn_plugin_kit.testing.asking import (
    EVERYTHING,
    ask,
    assert_best,
    assert_same,
    bitmaps,
)
from maskrcnn_plugin_kit.testing.images import sample_image, smooth_image
from maskrcnn_server.backend import Backend, Model, ModelConfig
from maskrcnn_server.detections import Detections
from maskrcnn_server.masks import RoiMasks

THRESHOLDS = (0.1, 0.3, 0.5, 0.7, 0.9)
ALMOST_ONE = float(np.nextafter(np.float32(1), np.float32(0)))
MIN_SIDE = 60
"""Least side in pixels of a box whose mask would show steps."""
MIN_EDGES = 5
"""Least number of columns or rows with an edge of a mask by which steps are told."""


class OptionChecks:
    """Checks of `PredictOptions`."""

    soft_masks: ClassVar[bool] = True
    """Whether masks are thresholded probabilities; False for a model that finds outlines only."""

    def test_nothing_of_a_call_is_kept_for_the_next(self, model: Model) -> None:
        before = ask(model)
        options: dict[str, Any] = {"mask_threshold": 0.9, "masks": False, "max_detections": 1}
        for name, value in options.items():
            ask(model, **{name: value})
            after = ask(model)
            message = (
                f"after a call with PredictOptions.{name}={value}, the same question gets another "
                "answer: keep no options and no answers in the model"
            )
            assert (after.masks is not None) == model.metadata.has_masks, message
            assert _mask_threshold(after) == _mask_threshold(before), message
            assert_same(after, before, message)

    def test_masks_can_be_left_out(self, model: Model) -> None:
        assert ask(model, masks=False).masks is None, (
            "PredictOptions.masks is False, and masks came: give None, and save their time"
        )

    def test_mask_threshold_is_honoured(self, model: Model) -> None:
        if not model.metadata.has_masks:
            return
        answers = [ask(model, mask_threshold=threshold) for threshold in THRESHOLDS]
        for threshold, answer in zip(THRESHOLDS, answers, strict=True):
            if isinstance(answer.masks, RoiMasks):
                assert answer.masks.threshold == threshold, (
                    f"PredictOptions.mask_threshold is {threshold}, and RoiMasks.threshold "
                    f"{answer.masks.threshold}: pass it on"
                )
        masks = [bitmaps(answer) for answer in answers]
        if self.soft_masks and any(one.any() for one in masks[0]):
            assert _differ(masks[0], masks[-1]), (
                "masks are the same at PredictOptions.mask_threshold 0.1 and 0.9: threshold the "
                "probabilities with it, or declare soft_masks = False in the subclass if the model "
                "has none"
            )
        for low, high in pairwise(masks):
            assert not any((b & ~a).any() for a, b in zip(low, high, strict=False)), (
                "a higher PredictOptions.mask_threshold added pixels to a mask: "
                "a pixel belongs to it at this probability or more"
            )
        almost, whole = (
            bitmaps(ask(model, mask_threshold=threshold)) for threshold in (ALMOST_ONE, 1.0)
        )
        assert any(m.any() for m in whole) or not any(m.any() for m in almost), (
            "pixels whose probability is 1 are in no mask at PredictOptions.mask_threshold 1.0: "
            "a pixel belongs to it at this probability or more"
        )

    def test_mask_threshold_is_applied_to_the_pasted_mask(self, model: Model) -> None:
        if not model.metadata.has_masks or not self.soft_masks:
            return
        image = smooth_image(480, 480)
        answers = [
            model.predict([image], replace(EVERYTHING, mask_threshold=threshold))[0]
            for threshold in THRESHOLDS
        ]
        soft = [a.masks.probabilities for a in answers if isinstance(a.masks, RoiMasks)]
        for one in soft:
            assert not np.array_equal(np.unique(one), [0, 1]), (
                "RoiMasks.probabilities are 0 or 1 and nothing between: give what the network "
                "says, or declare soft_masks = False in the subclass if it says no more"
            )
            assert one.shape == soft[0].shape and np.allclose(one, soft[0], atol=1e-3), (  # noqa: PT018 (one rule)
                "RoiMasks.probabilities change with PredictOptions.mask_threshold: leave them as "
                "they are; the threshold is applied to the mask that is pasted into the image"
            )
        if soft:
            return
        masks = [bitmaps(answer) for answer in answers]
        for number, box in enumerate(answers[0].boxes):
            same = [one[number] for one in masks if number < len(one)]
            if min(box[2:] - box[:2]) >= MIN_SIDE:
                assert not _is_fixed(np.array(same), box), (
                    f"the mask of detection {number} (from 0) is the same at every "
                    "PredictOptions.mask_threshold: threshold each with it, or declare "
                    "soft_masks = False in the subclass"
                )
                assert not _has_steps(np.array(same), box), (
                    f"the mask of a box of {box[2] - box[0]:.0f} x {box[3] - box[1]:.0f} pixels "
                    "has steps of several pixels at every PredictOptions.mask_threshold: resize "
                    "the probabilities, and threshold then (RoiMasks do), or declare "
                    "soft_masks = False in the subclass"
                )

    def test_masks_can_be_picked(self, model: Model) -> None:
        """The option `classes` picks masks; both orders of run lengths must tell the same."""
        answer = ask(model)
        if answer.masks is None or not len(answer):
            return
        rows, columns = (
            [rle.bitmap() for rle in answer.masks.rle(order)] for order in ("rows", "columns")
        )
        assert not _differ(rows, columns), (
            'masks.rle("rows") and masks.rle("columns") are of different bitmaps: '
            "maskrcnn_server.rle.encode makes either"
        )
        places = np.array([len(answer) - 1, 0], np.int64)
        picked = answer.masks.take(places)
        taken = [rle.bitmap() for rle in picked.rle("rows")]
        assert len(picked) == len(taken) == len(places) and not _differ(  # noqa: PT018 (one rule)
            taken, [rows[place] for place in places]
        ), (
            "masks.take(places) gives other masks than those at these places, in this order: "
            "requests for some classes get the masks of others"
        )

    def test_score_threshold_is_inclusive(self, model: Model) -> None:
        everything = ask(model)
        assert len(everything), (
            "the conformance picture has no detection at score threshold 0: the model must have "
            "no floor below which it drops, or be given a model folder that finds something"
        )
        different = np.unique(everything.scores)
        for score in different[:: max(1, len(different) // 5)]:
            threshold = float(str(score))
            expected = int((everything.scores >= score).sum())
            kept = ask(model, score_threshold=threshold)
            message = (
                f"with PredictOptions.score_threshold={threshold} there are {len(kept)} "
                f"detections, expected {expected}: keep score >= threshold, compared in float32"
            )
            assert len(kept) == expected, message
            message = (
                f"with PredictOptions.score_threshold={threshold} detections differ from the best "
                f"{expected} of all: choose boxes, categories and masks along with the scores"
            )
            assert_best(kept, everything, message)

    def test_a_request_may_ask_for_less_than_the_default(
        self, backend: Backend, model_dir: Path, model: Model
    ) -> None:
        strict = backend.load(ModelConfig(model_dir=model_dir, score_threshold=0.999))
        answer = ask(strict, masks=False)
        strict.close()
        message = (
            "with ModelConfig.score_threshold=0.999 and PredictOptions.score_threshold=0, other "
            "detections come than without the former: it is a default, and options are complete"
        )
        assert_same(answer, ask(model, masks=False), message)

    def test_max_detections_keeps_the_best(self, model: Model) -> None:
        everything = ask(model)
        for limit in sorted({1, 2, max(1, len(everything) - 1), 1000}):
            best = ask(model, max_detections=limit)
            message = (
                f"with PredictOptions.max_detections={limit} there are {len(best)} detections, "
                f"with scores {best.scores.tolist()[:5]}, of {everything.scores.tolist()[:5]} "
                "without it: keep the first, after sorting by score"
            )
            assert len(best) <= limit, message
            one, other = sorted((best, everything), key=len)
            assert len(one) >= min(limit, len(everything)), message
            assert_best(one, other, message)

    def test_an_option_changes_nothing_else(self, model: Model) -> None:
        everything = ask(model)
        options: dict[str, Any] = {"mask_threshold": 1.0, "masks": False, "proposals": True}
        for name, value in options.items():
            answer = ask(model, **{name: value})
            bare = answer if name == "proposals" else replace(answer, masks=None)
            message = (
                f"with PredictOptions.{name}={value}, other detections come than without: "
                "each option has an effect of its own"
            )
            assert len(bare) == len(everything), message
            assert_best(bare, everything, message)

    @pytest.mark.parametrize(
        "option", ["mask_threshold", "score_threshold", "max_detections", "masks"]
    )
    def test_options_hold_for_every_image_of_a_call(self, model: Model, option: str) -> None:
        images = [sample_image(128, 128, seed) for seed in range(3)]
        scores = np.concatenate([a.scores for a in model.predict(images, EVERYTHING)])
        middle = float(np.sort(scores)[len(scores) // 2]) if len(scores) else 0.5
        values: dict[str, Any] = {
            "mask_threshold": 0.9,
            "score_threshold": middle,
            "max_detections": 1,
            "masks": False,
        }
        options = replace(EVERYTHING, **{option: values[option]})
        for image, answer in zip(images, model.predict(images, options), strict=True):
            message = (
                f"with PredictOptions.{option}={values[option]}, an image gets another answer in "
                "the company of others than alone: obey it for each image of a call"
            )
            alone = model.predict([image], options)[0]
            assert _mask_threshold(answer) == _mask_threshold(alone), message
            assert_same(answer, alone, message)

    def test_proposals_come_when_asked_for(self, model: Model) -> None:
        assert ask(model).proposals is None, (
            "PredictOptions.proposals is False, and proposals came: give None"
        )
        proposals = ask(model, proposals=True).proposals
        if proposals is None:
            return
        count, classes = len(proposals.boxes), len(model.metadata.categories)
        shapes = proposals.boxes.shape, proposals.scores.shape, proposals.class_scores.shape
        assert shapes == ((count, 4), (count,), (count, 1 + classes)), (
            f"boxes, scores and class scores of proposals have shapes {shapes}: (P, 4), (P,) and "
            f"(P, {1 + classes}) are promised, the background's score first"
        )


def _mask_threshold(answer: Detections) -> float | None:
    return answer.masks.threshold if isinstance(answer.masks, RoiMasks) else None


def _differ(some: list[np.ndarray], others: list[np.ndarray]) -> bool:
    return any((one != other).any() for one, other in zip(some, others, strict=False))


def _is_fixed(masks: np.ndarray, box: np.ndarray) -> bool:
    """Whether a mask has an outline in its box, and that is the same at all thresholds."""
    x1, y1, x2, y2 = (int(side) for side in box)
    inside = masks[0, y1 + 2 : y2 - 2, x1 + 2 : x2 - 2]
    return bool(inside.any() and not inside.all() and (masks == masks[0]).all())


def _has_steps(masks: np.ndarray, box: np.ndarray) -> bool:
    """Whether edges within a box, over all thresholds, are never in neighbouring columns or rows.

    `masks` bool (thresholds, height, width). Soft masks that grow to the size of their box have
    edges everywhere: each threshold moves them a little.
    """
    x1, y1, x2, y2 = (int(side) for side in box)
    inside = masks[:, y1 + 2 : y2 - 2, x1 + 2 : x2 - 2]
    columns = np.flatnonzero((inside[:, :, 1:] != inside[:, :, :-1]).any((0, 1)))
    rows = np.flatnonzero((inside[:, 1:] != inside[:, :-1]).any((0, 2)))
    few = min(len(columns), len(rows)) < MIN_EDGES
    return not few and min(np.diff(columns).min(), np.diff(rows).min()) > 1

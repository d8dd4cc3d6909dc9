"""Conformance checks of single predictions: form, and obeyed options."""

from dataclasses import replace
from typing import ClassVar

import numpy as np
import pytest

from maskrcnn_plugin_kit.testing.images import sample_image
from maskrcnn_server.backend import Backend, Model, PredictOptions
from maskrcnn_server.detections import Detections
from maskrcnn_server.masks import RoiMasks
from maskrcnn_server.rle import Size

EVERYTHING = PredictOptions(score_threshold=0.0)

SIZES = [(1, 1), (150, 320), (320, 150), (20, 1000), (160, 160)]
"""Heights and widths: tiny, landscape, portrait, very wide, square."""


class AnswerChecks:
    """Checks of predictions for single images."""

    soft_masks: ClassVar[bool] = True
    """Whether masks are thresholded probabilities; False for a model that finds outlines only."""

    def test_metadata_names_the_backend(self, backend: Backend, model: Model) -> None:
        assert model.metadata.backend == backend.name, (
            f"ModelMetadata.backend is {model.metadata.backend!r}: say {backend.name!r}, "
            "the backend's name"
        )

    def test_categories_are_numbered_from_one(self, model: Model) -> None:
        ids = [category.id for category in model.metadata.categories]
        assert ids == list(range(1, len(ids) + 1)), (
            f"the categories' ids are {ids}: number them 1, 2, ... without gaps and background "
            "(maskrcnn_server.categories.named does), and put the data set's into dataset_id"
        )
        assert ids, "the model declares no category: name what it can find"

    @pytest.mark.parametrize("size", SIZES, ids=lambda s: f"{s[1]}x{s[0]}")
    def test_every_shape_of_image_is_served(self, model: Model, size: Size) -> None:
        (found,) = model.predict([sample_image(*size)], EVERYTHING)
        assert found.size == size, (
            f"Detections.size is {found.size} for an image of {size}: "
            "say the image's own (height, width), not that of the network's input"
        )

    def test_boxes_are_inside_the_image(self, model: Model) -> None:
        found = _found(model)
        height, width = found.size
        corners = found.boxes.reshape(-1, 2, 2)
        inside = (corners >= 0).all() and (corners <= (width, height)).all()
        assert inside, (
            f"boxes reach from {corners.min()} to {corners.max()} in an image of {found.size}: "
            "scale them back to the image, and clip x to 0..width and y to 0..height"
        )
        assert (corners[:, 0] <= corners[:, 1]).all(), (
            "a box has x1 > x2 or y1 > y2: boxes are x1, y1, x2, y2, not x, y, width, height"
        )

    def test_scores_descend(self, model: Model) -> None:
        scores = _found(model).scores
        assert (np.diff(scores) <= 0).all(), (
            f"scores do not descend: {scores.tolist()}: sort by score, and boxes, categories and "
            "masks along with it"
        )

    def test_category_ids_are_declared(self, model: Model) -> None:
        declared = {category.id for category in model.metadata.categories}
        surplus = sorted(set(_found(model).category_ids.tolist()) - declared)
        assert not surplus, (
            f"category ids {surplus} were found, and {sorted(declared)} are declared in the "
            "metadata: they are the network's class indices with the background as 0"
        )

    def test_masks_come_as_declared(self, model: Model) -> None:
        has_masks = _found(model).masks is not None
        assert has_masks == model.metadata.has_masks, (
            f"ModelMetadata.has_masks is {model.metadata.has_masks}, and masks "
            f"{'came' if has_masks else 'did not come'}: declare what the model does"
        )

    def test_masks_are_of_the_images_size(self, model: Model) -> None:
        found = _found(model, (120, 160))
        if found.masks is None:
            return
        assert len(found.masks) == len(found), "there must be one mask for each box"
        for order in ("rows", "columns"):
            sizes = {rle.size for rle in found.masks.rle(order)}
            assert sizes <= {(120, 160)}, (
                f"masks have sizes {sizes} in an image of (120, 160): sizes are (height, width); "
                "paste masks into the image, or give RoiMasks, which do"
            )

    def test_masks_can_be_left_out(self, model: Model) -> None:
        found = _found(model, masks=False)
        assert found.masks is None, (
            "PredictOptions.masks is False, and masks came: give None, and save their time"
        )

    def test_mask_threshold_is_honoured(self, model: Model) -> None:
        if not model.metadata.has_masks:
            return
        low, high = (_found(model, mask_threshold=threshold) for threshold in (0.1, 0.9))
        for found, threshold in ((low, 0.1), (high, 0.9)):
            if isinstance(found.masks, RoiMasks):
                assert found.masks.threshold == threshold, (
                    f"PredictOptions.mask_threshold is {threshold}, and RoiMasks.threshold "
                    f"{found.masks.threshold}: pass it on"
                )
        pairs = list(zip(_bitmaps(low), _bitmaps(high), strict=True))
        if self.soft_masks and any(one.any() for one, _ in pairs):
            assert any((one != other).any() for one, other in pairs), (
                "masks are the same at PredictOptions.mask_threshold 0.1 and 0.9: threshold the "
                "probabilities with it, or declare soft_masks = False in the subclass if the model "
                "has none"
            )
        for one, other in pairs:
            assert not (other & ~one).any(), (
                "a higher PredictOptions.mask_threshold added pixels to a mask: "
                "a pixel belongs to it at this probability or more"
            )

    def test_score_threshold_is_inclusive(self, model: Model) -> None:
        found = _found(model)
        assert len(found), (
            "the conformance picture has no detection at score threshold 0: the model must have "
            "no floor below which it drops, or be given a model folder that finds something"
        )
        middle = float(found.scores[len(found) // 2])
        expected = int((found.scores >= np.float32(middle)).sum())
        kept = len(_found(model, score_threshold=middle))
        assert kept == expected, (
            f"with PredictOptions.score_threshold={middle} there are {kept} detections, expected "
            f"{expected}: keep score >= threshold, compared in float32"
        )

    def test_defaults_are_declared(self, model: Model) -> None:
        least, most = model.metadata.score_threshold, model.metadata.max_detections
        assert 0 <= least <= 1, f"ModelMetadata.score_threshold is {least}: from 0 to 1"
        assert most >= 1, f"ModelMetadata.max_detections is {most}: at least 1"

    def test_max_detections_keeps_the_best(self, model: Model) -> None:
        found, best = _found(model), _found(model, max_detections=1)
        assert best.scores.tolist() == found.scores[:1].tolist(), (
            f"with PredictOptions.max_detections=1 the scores are {best.scores.tolist()[:5]}, of "
            f"{found.scores.tolist()[:5]} without it: keep the first, after sorting by score"
        )

    def test_nothing_found_is_an_answer(self, model: Model) -> None:
        (found,) = model.predict(
            [np.zeros((64, 64, 3), np.uint8)], PredictOptions(score_threshold=1.0)
        )
        assert not (found.scores < 1.0).any(), "detections below the score threshold were kept"
        if found.masks is not None:
            assert len(found.masks.rle("rows")) == len(found), "no detections, and yet masks"

    def test_proposals_come_when_asked_for(self, model: Model) -> None:
        assert _found(model).proposals is None, (
            "PredictOptions.proposals is False, and proposals came: give None"
        )
        proposals = _found(model, proposals=True).proposals
        if proposals is None:
            return
        count, classes = len(proposals.boxes), len(model.metadata.categories)
        shapes = proposals.boxes.shape, proposals.scores.shape, proposals.class_scores.shape
        assert shapes == ((count, 4), (count,), (count, 1 + classes)), (
            f"boxes, scores and class scores of proposals have shapes {shapes}: (P, 4), (P,) and "
            f"(P, {1 + classes}) are promised, the background's score first"
        )


def _found(model: Model, size: Size = (160, 160), **options: object) -> Detections:
    """Detections in the conformance image; all, or as the options say."""
    (found,) = model.predict([sample_image(*size)], replace(EVERYTHING, **options))  # type: ignore[arg-type]
    return found


def _bitmaps(found: Detections) -> list[np.ndarray]:
    return [] if found.masks is None else [rle.bitmap() for rle in found.masks.rle("rows")]

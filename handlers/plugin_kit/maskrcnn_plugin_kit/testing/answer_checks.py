"""Conformance checks of single predictions: their form."""

import numpy as np
import pytest

from maskrcnn_plugin_kit.testing.asking import EVERYTHING, ask
from maskrcnn_plugin_kit.testing.images import sample_image
from maskrcnn_server.backend import Backend, Model, PredictOptions
from maskrcnn_server.rle import Size

SIZES = [(1, 1), (150, 320), (320, 150), (20, 1000), (160, 160)]
"""Heights and widths: tiny, landscape, portrait, very wide, square."""


class AnswerChecks:
    """Checks of predictions for single images."""

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
        answer = ask(model)
        height, width = answer.size
        corners = answer.boxes.reshape(-1, 2, 2)
        inside = (corners >= 0).all() and (corners <= (width, height)).all()
        assert inside, (
            f"boxes reach from {corners.min()} to {corners.max()} in an image of {answer.size}: "
            "scale them back to the image, and clip x to 0..width and y to 0..height"
        )
        assert (corners[:, 0] <= corners[:, 1]).all(), (
            "a box has x1 > x2 or y1 > y2: boxes are x1, y1, x2, y2, not x, y, width, height"
        )

    def test_scores_descend(self, model: Model) -> None:
        scores = ask(model).scores
        assert (np.diff(scores) <= 0).all(), (
            f"scores do not descend: {scores.tolist()}: sort by score, and boxes, categories and "
            "masks along with it"
        )

    def test_category_ids_are_declared(self, model: Model) -> None:
        declared = {category.id for category in model.metadata.categories}
        surplus = sorted(set(ask(model).category_ids.tolist()) - declared)
        assert not surplus, (
            f"category ids {surplus} were found, and {sorted(declared)} are declared in the "
            "metadata: they are the network's class indices with the background as 0"
        )

    def test_masks_come_as_declared(self, model: Model) -> None:
        has_masks = ask(model).masks is not None
        assert has_masks == model.metadata.has_masks, (
            f"ModelMetadata.has_masks is {model.metadata.has_masks}, and masks "
            f"{'came' if has_masks else 'did not come'}: declare what the model does"
        )

    def test_masks_are_of_the_images_size(self, model: Model) -> None:
        answer = ask(model, (120, 160))
        if answer.masks is None:
            return
        assert len(answer.masks) == len(answer), "there must be one mask for each box"
        for order in ("rows", "columns"):
            sizes = {rle.size for rle in answer.masks.rle(order)}
            assert sizes <= {(120, 160)}, (
                f"masks have sizes {sizes} in an image of (120, 160): sizes are (height, width); "
                "paste masks into the image, or give RoiMasks, which do"
            )

    def test_defaults_are_declared(self, model: Model) -> None:
        least, most = model.metadata.score_threshold, model.metadata.max_detections
        assert 0 <= least <= 1, f"ModelMetadata.score_threshold is {least}: from 0 to 1"
        assert most >= 1, f"ModelMetadata.max_detections is {most}: at least 1"

    def test_nothing_found_is_an_answer(self, model: Model) -> None:
        (found,) = model.predict(
            [np.zeros((64, 64, 3), np.uint8)], PredictOptions(score_threshold=1.0)
        )
        assert not (found.scores < 1.0).any(), "detections below the score threshold were kept"
        if found.masks is not None:
            assert len(found.masks.rle("rows")) == len(found), "no detections, and yet masks"

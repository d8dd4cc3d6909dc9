"""What every backend promises, as tests: subclass, define two fixtures, and pytest runs them."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest

from maskrcnn_server.agreement import compare
from maskrcnn_server.backend import Backend, Batches, Image, Model, ModelConfig, PredictOptions
from maskrcnn_server.detections import Detections
from maskrcnn_server.errors import InvalidModel
from maskrcnn_server.plugins import NAME

EVERYTHING = PredictOptions(score_threshold=0.0)

SIZES = [(1, 1), (300, 640), (640, 300), (33, 400), (200, 200)]
"""Heights and widths: tiny, landscape, portrait, very wide, square."""


class BackendConformance:
    """Subclass this in a module of tests with two fixtures, of scope module or wider.

    `backend` is the backend under test; `model_dir` a folder with a small model that it loads.

        @pytest.fixture(scope="module")
        def backend(): return MyBackend()

        @pytest.fixture(scope="module")
        def model_dir(): return Path("a folder that it loads")

        class TestMine(BackendConformance): pass
    """

    needs_files: ClassVar[bool] = True
    """False for a backend whose models need no files, and which loads an empty folder."""

    @pytest.fixture(scope="class")
    @classmethod
    def model(cls, backend: Backend, model_dir: Path) -> Iterator[Model]:
        """The model that the tests of a class share."""
        model = backend.load(ModelConfig(model_dir=model_dir))
        yield model
        model.close()
        model.close()

    def test_name_can_be_selected(self, backend: Backend) -> None:
        assert NAME.fullmatch(backend.name), "lower-case letters, digits, - and _"

    def test_probe_finds_no_problem_in_a_good_folder(
        self, backend: Backend, model_dir: Path
    ) -> None:
        probe = backend.probe(ModelConfig(model_dir=model_dir))
        assert probe is not None, "probe must recognise a folder that load accepts"
        assert not probe.problems, "probe must not report problems that load does not have"

    def test_empty_folder_is_refused(self, backend: Backend, tmp_path: Path) -> None:
        """Random weights are never served."""
        if self.needs_files:
            with pytest.raises(InvalidModel):
                backend.load(ModelConfig(model_dir=tmp_path))

    def test_categories_are_numbered_from_one(self, model: Model) -> None:
        ids = [category.id for category in model.metadata.categories]
        assert ids == list(range(1, len(ids) + 1)), "category ids are 1, 2, ... without gaps"

    def test_metadata_names_the_backend(self, backend: Backend, model: Model) -> None:
        assert model.metadata.backend == backend.name

    @pytest.mark.parametrize("size", SIZES, ids=lambda s: f"{s[1]}x{s[0]}")
    def test_every_shape_of_image_is_served(self, model: Model, size: tuple[int, int]) -> None:
        (found,) = model.predict([_noise(*size)], EVERYTHING)
        assert found.size == size, "Detections.size is the image's height and width"

    def test_no_images_no_answers(self, model: Model) -> None:
        assert model.predict([], EVERYTHING) == [], "an empty list is answered by an empty list"

    def test_answers_come_in_the_order_of_the_images(self, model: Model) -> None:
        images = [_noise(*size) for size in SIZES]
        assert [d.size for d in model.predict(images, EVERYTHING)] == SIZES

    def test_an_image_gets_in_company_what_it_gets_alone(self, model: Model) -> None:
        images = [_noise(120, 160, seed) for seed in range(3)] + [_noise(160, 120)]
        together = model.predict(images, EVERYTHING)
        alone = [model.predict([image], EVERYTHING)[0] for image in images]
        for one, other in zip(together, alone, strict=True):
            _assert_same(one, other, "company changes what is found")

    def test_a_model_that_batches_knows_the_shape_of_every_size(self, model: Model) -> None:
        if not isinstance(model, Batches):
            return
        assert model.batch_pixels >= 0
        for size in ((1, 1), (120, 160), (3, 5000), (4000, 3000)):
            height, width = model.network_shape(size)
            assert min(height, width) > 0, f"an image of {size} has no size in the network"

    def test_the_same_image_gets_the_same_answer(self, model: Model) -> None:
        image = _noise(120, 160)
        first, second = (model.predict([image], EVERYTHING)[0] for _ in range(2))
        _assert_same(first, second, "two calls give two answers")

    def test_any_thread_may_call(self, model: Model) -> None:
        image = _noise(120, 160)
        (here,) = model.predict([image], EVERYTHING)
        for _ in range(2):
            with ThreadPoolExecutor(1) as pool:
                (there,) = pool.submit(model.predict, [image], EVERYTHING).result()
            _assert_same(here, there, "another thread gets another answer")

    def test_images_are_left_as_they_are(self, model: Model) -> None:
        image = _noise(120, 160)
        image.setflags(write=False)
        before = image.copy()
        model.predict([image], EVERYTHING)
        assert (image == before).all(), "predict changed its input"

    def test_category_ids_are_declared(self, model: Model) -> None:
        (found,) = model.predict([_noise(120, 160)], EVERYTHING)
        declared = {category.id for category in model.metadata.categories}
        assert set(found.category_ids.tolist()) <= declared, "undeclared category"

    def test_masks_come_as_declared(self, model: Model) -> None:
        (found,) = model.predict([_noise(120, 160)], EVERYTHING)
        assert (found.masks is not None) == model.metadata.has_masks
        if found.masks is not None:
            assert [r.size for r in found.masks.rle("rows")] == [(120, 160)] * len(found)

    def test_masks_can_be_left_out(self, model: Model) -> None:
        options = PredictOptions(score_threshold=0.0, masks=False)
        (found,) = model.predict([_noise(120, 160)], options)
        assert found.masks is None, "masks=False must give no masks"

    def test_score_threshold_is_inclusive(self, model: Model) -> None:
        image = _noise(120, 160)
        (found,) = model.predict([image], EVERYTHING)
        assert len(found), "the conformance image must have detections at threshold 0"
        middle = float(found.scores[len(found) // 2])
        (fewer,) = model.predict([image], PredictOptions(score_threshold=middle))
        expected = int((found.scores >= np.float32(middle)).sum())
        assert len(fewer) == expected, "score >= threshold is kept, score < threshold is not"

    def test_max_detections_keeps_the_best(self, model: Model) -> None:
        image = _noise(120, 160)
        (found,) = model.predict([image], EVERYTHING)
        (best,) = model.predict([image], PredictOptions(score_threshold=0.0, max_detections=1))
        assert best.scores.tolist() == found.scores[:1].tolist()

    def test_nothing_found_is_an_answer(self, model: Model) -> None:
        image = np.zeros((64, 64, 3), np.uint8)
        (found,) = model.predict([image], PredictOptions(score_threshold=1.0))
        assert len(found) == 0 or found.scores.min() >= 1.0


def _noise(height: int, width: int, seed: int = 0) -> Image:
    """Blocks of colour, the same on every machine."""
    cells = np.random.RandomState(seed).randint(0, 256, (8, 8, 3), np.uint8)
    rows = np.arange(height) * 8 // height
    columns = np.arange(width) * 8 // width
    return np.ascontiguousarray(cells[rows][:, columns])


def _assert_same(one: Detections, other: Detections, message: str) -> None:
    """Float noise aside: scores by 0.0001, boxes by 0.05 pixels, one mask pixel in a hundred."""
    assert len(one) == len(other), message
    np.testing.assert_allclose(one.scores, other.scores, atol=1e-4, err_msg=message)
    result = compare(one, other, box_tolerance=0.05)
    assert not result.surplus, message
    assert not result.missing, message
    assert result.mask_ious.min(initial=1) > 0.99, message

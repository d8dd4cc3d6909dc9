"""The kit passes a good backend, and each of its promises catches a model that breaks it."""

import dataclasses
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeAlias

import numpy as np
import pytest

from maskrcnn_server.backend import Backend, Image, Model, ModelConfig, PredictOptions, Probe
from maskrcnn_server.categories import Category
from maskrcnn_server.detections import Detections
from maskrcnn_server.errors import InvalidModel
from maskrcnn_server.testing import BackendConformance, FakeBackend
from maskrcnn_server.testing.conformance import SIZES
from maskrcnn_server.testing.fake import FakeModel


@pytest.fixture(scope="module")
def backend() -> Backend:
    return FakeBackend()


@pytest.fixture(scope="module")
def model_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("model")


class TestFakeBackend(BackendConformance):
    needs_files = False


Predict: TypeAlias = Callable[[Sequence[Image], PredictOptions], list[Detections]]
Fault: TypeAlias = Callable[[Predict, Sequence[Image], PredictOptions], list[Detections]]

CAUGHT = (AssertionError, ValueError, RuntimeError, pytest.fail.Exception)


class Broken(FakeModel):
    """A good model with a fault."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(0.5)
        self._fault = fault

    def predict(self, images: Sequence[Image], options: PredictOptions, /) -> list[Detections]:
        return self._fault(super().predict, images, options)


def changed(found: Detections, **parts: object) -> Detections:
    return dataclasses.replace(found, **parts)  # type: ignore[arg-type]


def keeping(found: Detections, keep: slice) -> Detections:
    return Detections(found.size, found.boxes[keep], found.scores[keep], found.category_ids[keep])


def refuses_small(predict: Predict, images: Sequence[Image], o: PredictOptions) -> list[Detections]:
    if any(image.shape[0] < 32 for image in images):
        raise ValueError("too small")
    return predict(images, o)


def swaps_sides(predict: Predict, images: Sequence[Image], o: PredictOptions) -> list[Detections]:
    return predict([image.transpose(1, 0, 2) for image in images], o)


def pads_batch(predict: Predict, images: Sequence[Image], o: PredictOptions) -> list[Detections]:
    return predict(images or [np.zeros((1, 1, 3), np.uint8)], o)


def sorts(predict: Predict, images: Sequence[Image], o: PredictOptions) -> list[Detections]:
    return predict(sorted(images, key=lambda image: image.size), o)


def drops_in_company(
    predict: Predict, images: Sequence[Image], o: PredictOptions
) -> list[Detections]:
    found = predict(images, o)
    return [keeping(f, slice(0, 1)) for f in found] if len(images) > 1 else found


def moves_in_company(
    predict: Predict, images: Sequence[Image], o: PredictOptions
) -> list[Detections]:
    found = predict(images, o)
    return [changed(f, boxes=f.boxes / len(images)) for f in found]


def recounts() -> Fault:
    calls: list[None] = []

    def fault(predict: Predict, images: Sequence[Image], o: PredictOptions) -> list[Detections]:
        calls.append(None)
        return [keeping(found, slice(0, len(calls))) for found in predict(images, o)]

    return fault


def stays_home() -> Fault:
    home = threading.get_ident()

    def fault(predict: Predict, images: Sequence[Image], o: PredictOptions) -> list[Detections]:
        if threading.get_ident() != home:
            raise RuntimeError("no session in this thread")
        return predict(images, o)

    return fault


def scribbles(predict: Predict, images: Sequence[Image], o: PredictOptions) -> list[Detections]:
    for image in images:
        image.setflags(write=True)
        image[0, 0] += 1
    return predict(images, o)


def invents(predict: Predict, images: Sequence[Image], o: PredictOptions) -> list[Detections]:
    return [changed(f, category_ids=f.category_ids + 1) for f in predict(images, o)]


def forgets_masks(predict: Predict, images: Sequence[Image], o: PredictOptions) -> list[Detections]:
    return predict(images, dataclasses.replace(o, masks=False))


def always_masks(predict: Predict, images: Sequence[Image], o: PredictOptions) -> list[Detections]:
    return predict(images, dataclasses.replace(o, masks=True))


def excludes(predict: Predict, images: Sequence[Image], o: PredictOptions) -> list[Detections]:
    found = predict(images, o)
    return [keeping(f, slice(int((f.scores > (o.score_threshold or 0)).sum()))) for f in found]


def ignores_limits(
    predict: Predict, images: Sequence[Image], o: PredictOptions
) -> list[Detections]:
    return predict(images, dataclasses.replace(o, max_detections=None))


def keeps_worst(predict: Predict, images: Sequence[Image], o: PredictOptions) -> list[Detections]:
    found = predict(images, dataclasses.replace(o, max_detections=None))
    return [keeping(f, slice(-(o.max_detections or 0), None)) for f in found]


def sees_ghosts(predict: Predict, images: Sequence[Image], _: PredictOptions) -> list[Detections]:
    return predict([np.maximum(image, 200) for image in images], PredictOptions())


@pytest.mark.parametrize(
    ("promise", "fault"),
    [
        ("no_images_no_answers", pads_batch),
        ("answers_come_in_the_order_of_the_images", sorts),
        ("an_image_gets_in_company_what_it_gets_alone", drops_in_company),
        ("an_image_gets_in_company_what_it_gets_alone", moves_in_company),
        ("the_same_image_gets_the_same_answer", recounts()),
        ("any_thread_may_call", stays_home()),
        ("images_are_left_as_they_are", scribbles),
        ("category_ids_are_declared", invents),
        ("masks_come_as_declared", forgets_masks),
        ("masks_can_be_left_out", always_masks),
        ("score_threshold_is_inclusive", excludes),
        ("max_detections_keeps_the_best", ignores_limits),
        ("max_detections_keeps_the_best", keeps_worst),
        ("nothing_found_is_an_answer", sees_ghosts),
    ],
)
def test_a_model_is_caught_that(promise: str, fault: Fault) -> None:
    with pytest.raises(CAUGHT):
        getattr(BackendConformance(), f"test_{promise}")(Broken(fault))


@pytest.mark.parametrize("fault", [refuses_small, swaps_sides])
def test_a_model_with_favourite_shapes_is_caught(fault: Fault) -> None:
    caught = 0
    for size in SIZES:
        try:
            BackendConformance().test_every_shape_of_image_is_served(Broken(fault), size)
        except CAUGHT:
            caught += 1
    assert caught


@pytest.mark.parametrize("ids", [(0, 1, 2), (1, 3), (2, 1)], ids=str)
def test_a_model_with_gaps_in_its_categories_is_caught(ids: tuple[int, ...]) -> None:
    model = FakeModel(0.5)
    categories = tuple(Category(i, f"class {i}", i) for i in ids)
    model.metadata = dataclasses.replace(model.metadata, categories=categories)
    with pytest.raises(AssertionError, match="without gaps"):
        BackendConformance().test_categories_are_numbered_from_one(model)


def test_a_model_of_another_backend_is_caught() -> None:
    model = FakeModel(0.5)
    model.metadata = dataclasses.replace(model.metadata, backend="other")
    with pytest.raises(AssertionError):
        BackendConformance().test_metadata_names_the_backend(FakeBackend(), model)


class Probing(FakeBackend):
    def __init__(self, found: Probe | None, name: str = "probing") -> None:
        self.name = name
        self._found = found

    def probe(self, _: ModelConfig, /) -> Probe | None:
        return self._found


NOTHING = pytest.param(None, id="finds nothing")
PROBLEMS = pytest.param(Probe(facts={}, problems=["no weights"]), id="finds problems")


@pytest.mark.parametrize("probe", [NOTHING, PROBLEMS])
def test_a_backend_whose_probe_disagrees_with_load_is_caught(
    probe: Probe | None, tmp_path: Path
) -> None:
    kit, backend = BackendConformance(), Probing(probe)
    with pytest.raises(AssertionError, match="probe must"):
        kit.test_probe_finds_no_problem_in_a_good_folder(backend, tmp_path)
    with pytest.raises(pytest.fail.Exception, match="DID NOT RAISE"):
        kit.test_empty_folder_is_refused(backend, tmp_path)


def test_a_backend_that_refuses_an_empty_folder_otherwise_is_caught(tmp_path: Path) -> None:
    class Crashing(Probing):
        def load(self, config: ModelConfig, /) -> Model:
            raise FileNotFoundError(config.model_dir)

    with pytest.raises(FileNotFoundError):
        BackendConformance().test_empty_folder_is_refused(Crashing(None), tmp_path)


def test_a_backend_that_refuses_an_empty_folder_is_fine(tmp_path: Path) -> None:
    class Refusing(Probing):
        def load(self, config: ModelConfig, /) -> Model:
            raise InvalidModel(f"no weights in {config.model_dir}")

    BackendConformance().test_empty_folder_is_refused(Refusing(None), tmp_path)


@pytest.mark.parametrize("name", ["", "Upper", "two words"])
def test_a_backend_that_cannot_be_selected_is_caught(name: str) -> None:
    with pytest.raises(AssertionError):
        BackendConformance().test_name_can_be_selected(Probing(None, name))

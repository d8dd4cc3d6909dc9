"""The suite passes good backends, and each of its checks catches a backend that breaks it."""

import dataclasses
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from conforming import (
    FILE,
    Answer,
    Case,
    GoodBackend,
    GoodModel,
    Predict,
    answering,
    caught,
    forged,
    installed_plugins,
    keeping,
    model_dir,
    to_each,
    with_bitmaps,
    with_options,
    with_runs,
)
from heap import frozen_heap

from maskrcnn_plugin_kit.testing import (
    BackendConformance,
    FakeBackend,
    conduct_checks,
    folder_checks,
)
from maskrcnn_plugin_kit.testing.images import sample_image
from maskrcnn_plugin_kit.testing.option_checks import OptionChecks
from maskrcnn_server import API_VERSION
from maskrcnn_server.backend import Backend, Image, Model, ModelConfig, PredictOptions, Probe
from maskrcnn_server.categories import Category
from maskrcnn_server.detections import Detections
from maskrcnn_server.errors import InvalidModel, InvalidSetting
from maskrcnn_server.keys import Keys
from maskrcnn_server.masks import RoiMasks
from maskrcnn_server.rle import RLE, Order, Size

__all__ = ["frozen_heap", "installed_plugins", "model_dir"]


class BoxesModel(GoodModel):
    """Finds no masks, and says so."""

    def __init__(self, config: ModelConfig, name: str) -> None:
        super().__init__(config, name)
        self.metadata = dataclasses.replace(self.metadata, has_masks=False)

    def predict(self, images: Sequence[Image], options: PredictOptions, /) -> list[Detections]:
        return super().predict(images, dataclasses.replace(options, masks=False))


class BatchingModel(GoodModel):
    batch_pixels = 1_000_000

    def network_shape(self, size: Size, /) -> Size:
        return size


class TestGoodBackend(BackendConformance):
    @pytest.fixture(scope="class")
    @classmethod
    def backend(cls) -> Backend:
        return GoodBackend()


class TestBackendWithoutMasks(BackendConformance):
    @pytest.fixture(scope="class")
    @classmethod
    def backend(cls) -> Backend:
        return GoodBackend(BoxesModel)


class TestBackendThatBatches(BackendConformance):
    @pytest.fixture(scope="class")
    @classmethod
    def backend(cls) -> Backend:
        return GoodBackend(BatchingModel)


class TestBackendWithoutFiles(BackendConformance):
    needs_files = False

    @pytest.fixture(scope="class")
    @classmethod
    def backend(cls) -> Backend:
        return FakeBackend()


# What follows is broken.


def ignoring_mask_threshold(change: Callable[[Detections], Detections]) -> Answer:
    """Masks that are pasted at 0.5 whatever is asked for, and then no longer tell."""

    def answer(predict: Predict, images: Sequence[Image], asked: PredictOptions) -> Any:
        found = predict(images, dataclasses.replace(asked, mask_threshold=0.5))
        return [change(f) for f in found] if asked.masks else found

    return answer


def refusing(what: Callable[[Image], bool], error: Exception) -> Answer:
    def answer(predict: Predict, images: Sequence[Image], asked: PredictOptions) -> Any:
        if any(what(image) for image in images):
            raise error
        return predict(images, asked)

    return answer


def needs_an_image(predict: Predict, images: Sequence[Image], asked: PredictOptions) -> Any:
    return predict(images, asked)[: len(np.stack([image[0, 0] for image in images]))]


def sorts(predict: Predict, images: Sequence[Image], asked: PredictOptions) -> Any:
    return predict(sorted(images, key=lambda image: image.size), asked)


def drops_in_company(predict: Predict, images: Sequence[Image], asked: PredictOptions) -> Any:
    found = predict(images, asked)
    return [keeping(f, slice(1)) for f in found] if len(images) > 1 else found


def moves_in_company(predict: Predict, images: Sequence[Image], asked: PredictOptions) -> Any:
    found = predict(images, asked)
    return [dataclasses.replace(f, boxes=f.boxes / np.float32(len(images))) for f in found]


def wavers() -> Answer:
    """About one picture, each time it is asked."""
    unsure = sample_image(160, 160, seed=1)
    calls: list[None] = []

    def answer(predict: Predict, images: Sequence[Image], asked: PredictOptions) -> Any:
        found = predict(images, asked)
        if len(images) == 1 and np.array_equal(images[0], unsure):
            calls.append(None)
            found = [keeping(found[0], slice(len(calls)))]
        return found

    return answer


def stays_home() -> Answer:
    home = threading.get_ident()

    def answer(predict: Predict, images: Sequence[Image], asked: PredictOptions) -> Any:
        if threading.get_ident() != home:
            raise RuntimeError("no session in this thread")
        return predict(images, asked)

    return answer


def mixes_callers() -> Answer:
    """In any thread but the first, the answer is that to the image before."""
    home = threading.get_ident()
    last: list[list[Detections]] = []

    def answer(predict: Predict, images: Sequence[Image], asked: PredictOptions) -> Any:
        last.append(predict(images, asked))
        return last[-2] if threading.get_ident() != home else last[-1]

    return answer


def scribbles(predict: Predict, images: Sequence[Image], asked: PredictOptions) -> Any:
    for image in images:
        image[image < 128] = 0
    return predict(images, asked)


def collects() -> Answer:
    seen: list[list[Image]] = []

    def answer(predict: Predict, images: Sequence[Image], asked: PredictOptions) -> Any:
        seen.append([image.copy() for image in images])
        return predict(images, asked)

    return answer


def lies_on_its_side(found: Detections) -> Detections:
    height, width = found.size
    return forged(found, size=(width, height)) if height > width else found


def swaps_last(found: Detections) -> Detections:
    scores = found.scores.copy()
    scores[-2:] = scores[-2:][::-1]
    return forged(found, scores=scores)


class Transposed:
    """Masks whose run lengths have width and height exchanged."""

    def __init__(self, masks: Any) -> None:
        self.size = masks.size
        self._masks = masks

    def __len__(self) -> int:
        return len(self._masks)

    def take(self, places: Any) -> "Transposed":
        return Transposed(self._masks.take(places))

    def rle(self, order: Order) -> list[RLE]:
        return [dataclasses.replace(r, size=r.size[::-1]) for r in self._masks.rle(order)]


def transposes(found: Detections) -> Detections:
    return dataclasses.replace(found, masks=found.masks and Transposed(found.masks))


def excludes(predict: Predict, images: Sequence[Image], asked: PredictOptions) -> Any:
    least = asked.score_threshold or 0
    return [keeping_masks(f, int((f.scores > least).sum())) for f in predict(images, asked)]


def keeping_masks(found: Detections, count: int) -> Detections:
    masks = found.masks
    if isinstance(masks, RoiMasks):
        masks = dataclasses.replace(
            masks, probabilities=masks.probabilities[:count], boxes=masks.boxes[:count]
        )
    return dataclasses.replace(keeping(found, slice(count)), masks=masks)


def keeps_worst(predict: Predict, images: Sequence[Image], asked: PredictOptions) -> Any:
    found = predict(images, dataclasses.replace(asked, max_detections=100))
    if asked.max_detections != 1:
        return found
    return [keeping(f, slice(-1, None)) for f in found]


def fails_on_nothing(found: Detections) -> Detections:
    if not len(found):
        raise ValueError("need at least one array to stack")
    return found


def sees_ghosts(predict: Predict, images: Sequence[Image], asked: PredictOptions) -> Any:
    ghosts = [np.maximum(image, 200) if not image.any() else image for image in images]
    least = 0.5 if not images or not images[0].any() else asked.score_threshold
    return predict(ghosts, dataclasses.replace(asked, score_threshold=least))


def without_background(found: Detections) -> Detections:
    if found.proposals is None:
        return found
    scores = found.proposals.class_scores[:, 1:]
    return dataclasses.replace(
        found, proposals=dataclasses.replace(found.proposals, class_scores=scores)
    )


class NeverFinds(GoodModel):
    def __init__(self, config: ModelConfig, name: str) -> None:
        super().__init__(config, name)
        self.metadata = dataclasses.replace(self.metadata, max_detections=0)


class Shrinks(GoodModel):
    batch_pixels = 1_000_000

    def network_shape(self, size: Size, /) -> Size:
        return size[0] // 8, size[1] // 8


class Unordered(GoodModel):
    def __init__(self, config: ModelConfig, name: str) -> None:
        super().__init__(config, name)
        categories = tuple(Category(i, f"class {i}", i) for i in (3, 1, 2))
        self.metadata = dataclasses.replace(self.metadata, categories=categories)


class OfAnother(GoodModel):
    def __init__(self, config: ModelConfig, name: str) -> None:
        super().__init__(config, f"{name}-v2")


class Shared(GoodModel):
    """The model that was loaded last is the one that answers."""

    open: ClassVar[list["Shared"]] = []

    def __init__(self, config: ModelConfig, name: str) -> None:
        super().__init__(config, name)
        self.open.append(self)

    def predict(self, images: Sequence[Image], options: PredictOptions, /) -> list[Detections]:
        found = super().predict(images, options)
        return found if self.open[-1] is self else [keeping(f, slice(1)) for f in found]

    def close(self) -> None:
        if self in self.open:
            self.open.remove(self)


class ClosesOnce(GoodModel):
    closed = False

    def close(self) -> None:
        if self.closed:
            raise RuntimeError("the session is gone")
        self.closed = True


class KnowsNothing(GoodBackend):
    def probe(self, config: ModelConfig, /) -> Probe | None: ...


class Worries(GoodBackend):
    def probe(self, config: ModelConfig, /) -> Probe | None:
        found = super().probe(config)
        return found and Probe(facts={}, problems=["an old version wrote this"])


class Ponders(GoodBackend):
    def probe(self, config: ModelConfig, /) -> Probe | None:
        time.sleep(0.06)
        return super().probe(config)


class Touches(GoodBackend):
    def probe(self, config: ModelConfig, /) -> Probe | None:
        found = super().probe(config)
        if found:
            (config.model_dir / FILE).touch()
        return found


class ClaimsAll(GoodBackend):
    def probe(self, config: ModelConfig, /) -> Probe | None:
        return super().probe(config) or (Probe(facts={}) if config.model_dir.is_dir() else None)


class ClaimsTheMissing(GoodBackend):
    def probe(self, config: ModelConfig, /) -> Probe | None:
        return super().probe(config) if config.model_dir.is_dir() else Probe(facts={})


class ServesNoise(GoodBackend):
    def read(self, folder: Path) -> None:
        if (folder / FILE).exists():
            super().read(folder)


class FailsOnEmpty(GoodBackend):
    def read(self, folder: Path) -> None:
        (folder / FILE).stat()
        super().read(folder)


class FailsOnDamage(GoodBackend):
    def load(self, config: ModelConfig, /) -> Model:
        try:
            return super().load(config)
        except InvalidModel as error:
            if (config.model_dir / FILE).exists():
                raise ValueError(error.message) from None
            raise


class FailsToProbeDamage(GoodBackend):
    def probe(self, config: ModelConfig, /) -> Probe | None:
        found = super().probe(config)
        if found and found.problems:
            raise ValueError("line 1 column 1")
        return found


class TakesAnything(GoodBackend):
    def check(self, config: ModelConfig) -> None: ...


class BlamesTheFolder(GoodBackend):
    def check(self, config: ModelConfig) -> None:
        try:
            super().check(config)
        except InvalidSetting as error:
            raise InvalidModel(error.message) from None


class Deaf:
    """Declares no keys, and looks at none."""

    name = "good"

    def probe(self, config: ModelConfig, /) -> Probe | None:
        return GoodBackend().probe(config)

    def load(self, config: ModelConfig, /) -> Model:
        return GoodBackend().load(config)


class Promises(GoodBackend):
    keys = Keys(options={"fast"}, config={"A.B"})


class Listens(GoodBackend):
    keys = Keys(options={"fast"}, config={"A.B"})

    def check(self, config: ModelConfig) -> None:
        super().check(config)
        config.options.get("fast"), config.overrides.get("A.B")


class KnowsBetter(GoodBackend):
    def load(self, config: ModelConfig, /) -> Model:
        return super().load(dataclasses.replace(config, score_threshold=0.6))


class Silent(GoodBackend):
    name = "silent"


class Heavy(GoodBackend):
    name = "heavy"


CASES = [
    Case(
        "answers are a list of detections",
        answering(lambda predict, images, o: tuple(predict(images, o))),
        "a list is promised",
    ),
    Case("no images no answers", answering(needs_an_image), "need at least one array"),
    Case("answers come in the order of the images", answering(sorts), "one answer for each image"),
    Case("an image gets in company what it gets alone", answering(drops_in_company), "batch only"),
    Case("an image gets in company what it gets alone", answering(moves_in_company), "batch only"),
    Case(
        "a model that batches knows the shape of every size",
        GoodBackend(Shrinks),
        "a pixel at least",
    ),
    Case("the same image gets the same answer", answering(wavers()), "keep nothing of a call"),
    Case("callers in many threads get their own answers", answering(stays_home()), "bind nothing"),
    Case("callers in many threads get their own answers", answering(mixes_callers()), "keep noth"),
    Case("images are left as they are", answering(scribbles), "copy it before"),
    Case("memory does not grow", answering(collects()), "keep no images"),
    Case("metadata names the backend", GoodBackend(OfAnother), "say 'good'"),
    Case("categories are numbered from one", GoodBackend(Unordered), "number them 1, 2, ..."),
    Case("every shape of image is served", answering(to_each(lies_on_its_side)), "(height, width)"),
    Case(
        "every shape of image is served",
        answering(refusing(lambda i: i.shape[:2] == (1, 1), ZeroDivisionError("by zero"))),
        "by zero",
    ),
    Case(
        "every shape of image is served",
        answering(refusing(lambda i: i.shape[1] > 45 * i.shape[0], ValueError("too wide"))),
        "too wide",
    ),
    Case(
        "boxes are inside the image",
        answering(to_each(lambda f: forged(f, boxes=f.boxes * 4))),
        "scale them back",
    ),
    Case(
        "boxes are inside the image",
        answering(to_each(lambda f: forged(f, boxes=f.boxes[:, [2, 1, 0, 3]]))),
        "not x, y, width, height",
    ),
    Case("scores descend", answering(to_each(swaps_last)), "sort by score"),
    Case(
        "category ids are declared",
        answering(to_each(lambda f: dataclasses.replace(f, category_ids=f.category_ids + 1))),
        "class indices with the background as 0",
    ),
    Case("masks come as declared", answering(with_options(masks=False)), "declare what the model"),
    Case("masks are of the images size", answering(to_each(transposes)), "paste masks into"),
    Case("masks can be left out", answering(with_options(masks=True)), "give None"),
    Case("mask threshold is honoured", answering(with_options(mask_threshold=0.5)), "pass it on"),
    *(
        Case(
            "mask threshold is honoured",
            answering(ignoring_mask_threshold(change)),
            "masks are the same at",
        )
        for change in (with_bitmaps, with_runs)
    ),
    Case("score threshold is inclusive", answering(excludes), "keep score >= threshold"),
    Case("defaults are declared", GoodBackend(NeverFinds), "at least 1"),
    Case(
        "max detections keeps the best",
        answering(with_options(max_detections=100)),
        "keep the first",
    ),
    Case("max detections keeps the best", answering(keeps_worst), "keep the first"),
    Case("nothing found is an answer", answering(to_each(fails_on_nothing)), "at least one array"),
    Case("nothing found is an answer", answering(sees_ghosts), "below the score threshold"),
    Case(
        "proposals come when asked for",
        answering(to_each(without_background)),
        "the background's score first",
    ),
    Case(
        "proposals come when asked for", answering(with_options(proposals=True)), "proposals came"
    ),
    Case("probe finds no problem in a good folder", KnowsNothing(), "return a Probe"),
    Case("probe finds no problem in a good folder", Worries(), "Probe.notes"),
    Case("probe is quick", Ponders(), "leave weights and the network to `load`"),
    Case("probe has no side effects", Touches(), "it only looks"),
    Case("probe leaves other folders to others", ClaimsAll(), "return None there"),
    Case("probe leaves other folders to others", ClaimsTheMissing(), "does not exist"),
    Case("empty folder is refused", ServesNoise(), "never serve random weights"),
    Case("empty folder is refused", FailsOnEmpty(), "raised FileNotFoundError"),
    Case("damaged files are refused by errors of ours", FailsOnDamage(), "raised ValueError"),
    Case("damaged files are refused by errors of ours", FailsToProbeDamage(), "catch it"),
    Case("a setting that it does not have is refused", TakesAnything(), "raise InvalidSetting"),
    Case("a setting that it does not have is refused", BlamesTheFolder(), "the folder is fine"),
    Case("a key that nobody knows is refused", Deaf(), "give the backend an attribute `keys`"),
    Case("every declared key is read", Promises(), "declares A.B, fast, and neither"),
    Case("operators score threshold becomes the default", KnowsBetter(), "only if it is None"),
    Case("models side by side do not disturb each other", GoodBackend(Shared), "that models share"),
    Case("close may be called twice", GoodBackend(ClosesOnce), "let it do nothing"),
    Case(
        "plugin declares its api version",
        Silent(),
        f"put api_version = {API_VERSION!r} into stranger_silent",
    ),
    Case("plugin imports no framework", Heavy(), "import mxnet"),
]


OF_OPTIONS = {
    name.removeprefix("test_").replace("_", " ")
    for name in dir(OptionChecks)
    if name.startswith("test_")
}
"""Checks that ask a model in many ways, and so notice also what another check is for."""


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.check)
def test_a_broken_backend_is_caught_by_its_check_that_says_what_to_do(
    case: Case, model_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if isinstance(case.broken, Ponders):
        monkeypatch.setattr(folder_checks, "PROBE_S", 0.05)
    if "memory" not in case.check:
        monkeypatch.setattr(conduct_checks, "CALLS", 8)
    found = caught(case.broken, model_dir)
    assert case.check in found
    assert set(found) - {case.check} <= OF_OPTIONS
    assert case.advice in found[case.check]


def test_a_backend_that_reads_its_keys_passes(
    model_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(conduct_checks, "CALLS", 8)
    assert caught(Listens(), model_dir) == {}


def test_every_check_catches_something() -> None:
    checks = {name for name in dir(BackendConformance) if name.startswith("test_")}
    caught_here = {f"test_{case.check.replace(' ', '_')}" for case in CASES}
    assert checks - caught_here <= {name for name in dir(OptionChecks) if name.startswith("test_")}


def test_a_backend_that_no_plugin_registers_is_told_how(model_dir: Path) -> None:
    class Unknown(GoodBackend):
        name = "Unknown"

    found = caught(Unknown(), model_dir)
    assert set(found) == {"plugin declares its api version", "plugin imports no framework"}
    first, *others = found.values()
    assert "no installed plugin registers a backend 'Unknown': name the module" in first
    assert others == ["no model, as above"]

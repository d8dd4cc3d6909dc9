"""Models that ignore an option, or mistreat it, are failed by a check that says what to do."""

import dataclasses
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, TypeAlias

import numpy as np
import pytest
from conforming import (
    GoodBackend,
    GoodModel,
    caught,
    installed_plugins,
    keeping,
    model_dir,
    with_bitmaps,
    with_runs,
)
from heap import frozen_heap

from maskrcnn_plugin_kit.testing import BackendConformance
from maskrcnn_plugin_kit.testing.option_checks import OptionChecks
from maskrcnn_server.backend import Backend, Image, ModelConfig, PredictOptions
from maskrcnn_server.detections import Detections
from maskrcnn_server.masks import BitMasks, RoiMasks, RunLengthMasks
from maskrcnn_server.rle import RLE, Order

__all__ = ["frozen_heap", "installed_plugins", "model_dir"]

CONES = [
    np.maximum(1 - np.hypot(*np.mgrid[-1:1:28j, -1 : 1 + shift : 28j]), 0).astype(np.float32)
    for shift in (0.0, 0.3, 0.6)
]
"""Probabilities of each class, from 1 in the middle to 0 at the border."""
Found: TypeAlias = list[Detections]


class SoftModel(GoodModel):
    """Its masks are round, and less sure at their borders."""

    def predict(self, images: Sequence[Image], options: PredictOptions, /) -> Found:
        return [soft(found) for found in super().predict(images, options)]


def soft(found: Detections) -> Detections:
    if not isinstance(found.masks, RoiMasks):
        return found
    cones = [CONES[category - 1] for category in found.category_ids]
    probabilities = np.array(cones, np.float32).reshape(-1, 28, 28)
    return replace(found, masks=replace(found.masks, probabilities=probabilities))


def whole(found: Detections) -> Detections:
    return with_bitmaps(found) if found.masks is not None else found


def runs(found: Detections) -> Detections:
    return with_runs(found) if found.masks is not None else found


class BitModel(SoftModel):
    def predict(self, images: Sequence[Image], options: PredictOptions, /) -> Found:
        return [whole(found) for found in super().predict(images, options)]


class RunModel(SoftModel):
    def predict(self, images: Sequence[Image], options: PredictOptions, /) -> Found:
        return [runs(found) for found in super().predict(images, options)]


class TestSoftMasks(BackendConformance):
    model_class: ClassVar[type[GoodModel]] = SoftModel

    @pytest.fixture(scope="class")
    @classmethod
    def backend(cls) -> Backend:
        return GoodBackend(cls.model_class)


class TestBitmaps(TestSoftMasks):
    model_class = BitModel


class TestRunLengths(TestSoftMasks):
    model_class = RunModel


# What follows is broken.


class Fixed(SoftModel):
    """Thresholds at 0.5."""

    def predict(self, images: Sequence[Image], options: PredictOptions, /) -> Found:
        return super().predict(images, replace(options, mask_threshold=0.5))


class FixedBitmaps(BitModel):
    def predict(self, images: Sequence[Image], options: PredictOptions, /) -> Found:
        return super().predict(images, replace(options, mask_threshold=0.5))


class FixedRuns(RunModel):
    def predict(self, images: Sequence[Image], options: PredictOptions, /) -> Found:
        return super().predict(images, replace(options, mask_threshold=0.5))


class AtLoad(BitModel):
    """Obeys the first call's threshold, ever after."""

    first: float | None = None

    def predict(self, images: Sequence[Image], options: PredictOptions, /) -> Found:
        self.first = self.first or options.mask_threshold
        return super().predict(images, replace(options, mask_threshold=self.first))


class Squared(SoftModel):
    def predict(self, images: Sequence[Image], options: PredictOptions, /) -> Found:
        return super().predict(images, replace(options, mask_threshold=options.mask_threshold**2))


class Clipped(SoftModel):
    def predict(self, images: Sequence[Image], options: PredictOptions, /) -> Found:
        threshold = min(max(options.mask_threshold, 0.3), 0.7)
        return super().predict(images, replace(options, mask_threshold=threshold))


class Rounded(SoftModel):
    def predict(self, images: Sequence[Image], options: PredictOptions, /) -> Found:
        threshold = max(round(options.mask_threshold * 4) / 4, 0.1)
        return super().predict(images, replace(options, mask_threshold=threshold))


class AnotherDefault(BitModel):
    """Takes 0.5 for not asked, and has a default of its own."""

    def predict(self, images: Sequence[Image], options: PredictOptions, /) -> Found:
        own = 0.8 if options.mask_threshold == 0.5 else options.mask_threshold
        return super().predict(images, replace(options, mask_threshold=own))


class Below(BitModel):
    """Compares the wrong way round."""

    def predict(self, images: Sequence[Image], options: PredictOptions, /) -> Found:
        return [
            replace(f, masks=BitMasks(~f.masks.bitmaps)) if isinstance(f.masks, BitMasks) else f
            for f in super().predict(images, options)
        ]


class OneMinus(BitModel):
    def predict(self, images: Sequence[Image], options: PredictOptions, /) -> Found:
        turned = max(1 - options.mask_threshold, 1e-6)
        return super().predict(images, replace(options, mask_threshold=turned))


class MoreThan(GoodModel):
    """Compares with >, so that sure pixels are in no mask at 1."""

    def predict(self, images: Sequence[Image], options: PredictOptions, /) -> Found:
        return [self.strict(f, options) for f in super().predict(images, options)]

    def strict(self, found: Detections, options: PredictOptions) -> Detections:
        found = whole(found)
        if options.mask_threshold < 1 or found.masks is None:
            return found
        return replace(found, masks=BitMasks(np.zeros((len(found), *found.size), np.bool_)))


class BinarySoft(SoftModel):
    """Thresholds 28 x 28 numbers, and lets them be pasted and thresholded again."""

    def predict(self, images: Sequence[Image], options: PredictOptions, /) -> Found:
        found = super().predict(images, options)
        return [self.binary(one, options.mask_threshold) for one in found]

    def binary(self, found: Detections, threshold: float) -> Detections:
        if not isinstance(found.masks, RoiMasks):
            return found
        hard = (found.masks.probabilities >= threshold).astype(np.float32)
        return replace(found, masks=replace(found.masks, probabilities=hard))


class BinaryAtHalf(BinarySoft):
    def binary(self, found: Detections, _: float) -> Detections:
        return super().binary(found, 0.5)


class ZeroesBelow(SoftModel):
    """Sets what is below the threshold to 0 before pasting."""

    def predict(self, images: Sequence[Image], options: PredictOptions, /) -> Found:
        found = super().predict(images, options)
        return [self.cleared(one, options.mask_threshold) for one in found]

    def cleared(self, found: Detections, threshold: float) -> Detections:
        if not isinstance(found.masks, RoiMasks):
            return found
        kept = found.masks.probabilities * (found.masks.probabilities >= threshold)
        return replace(found, masks=replace(found.masks, probabilities=kept))


class Blocks(SoftModel):
    """Thresholds 28 x 28 numbers, and enlarges them to the box pixel by pixel."""

    side = 28

    def predict(self, images: Sequence[Image], options: PredictOptions, /) -> Found:
        return [self.pasted(f, options.mask_threshold) for f in super().predict(images, options)]

    def pasted(self, found: Detections, threshold: float) -> Detections:
        if not isinstance(found.masks, RoiMasks):
            return found
        bitmaps = np.zeros((len(found), *found.size), np.bool_)
        hard = CONES[0][:: 28 // self.side, :: 28 // self.side] >= threshold
        for bitmap, box in zip(bitmaps, found.boxes.astype(int), strict=True):
            x1, y1, x2, y2 = box
            rows = np.arange(y2 - y1) * self.side // (y2 - y1)
            columns = np.arange(x2 - x1) * self.side // (x2 - x1)
            bitmap[y1:y2, x1:x2] = hard[rows][:, columns]
        return replace(found, masks=self.made(bitmaps, found))

    def made(self, bitmaps: np.ndarray, _: Detections) -> Any:
        return BitMasks(bitmaps)


class BlocksOf14(Blocks):
    side = 14


class BlocksAsRuns(Blocks):
    def made(self, bitmaps: np.ndarray, found: Detections) -> Any:
        return RunLengthMasks(BitMasks(bitmaps).rle("columns"), found.size)


def only_first(**usual: Any) -> type[GoodModel]:
    """Obeys options for the first image of a call; the others get these."""

    class OnlyFirst(SoftModel):
        def predict(self, images: Sequence[Image], options: PredictOptions, /) -> Found:
            first = super().predict(images[:1], options)
            return first + super().predict(images[1:], replace(options, **usual))

    return OnlyFirst


class OnlyFirstBitmaps(BitModel):
    def predict(self, images: Sequence[Image], options: PredictOptions, /) -> Found:
        first = super().predict(images[:1], options)
        return first + super().predict(images[1:], replace(options, mask_threshold=0.5))


class OnlyFirstInstance(BitModel):
    """Obeys the threshold for the best instance; the others are pasted at 0.5."""

    def predict(self, images: Sequence[Image], options: PredictOptions, /) -> Found:
        asked = super().predict(images, options)
        usual = super().predict(images, replace(options, mask_threshold=0.5))
        return [self.mixed(*pair) for pair in zip(asked, usual, strict=True)]

    def mixed(self, found: Detections, usual: Detections) -> Detections:
        if not isinstance(found.masks, BitMasks) or not isinstance(usual.masks, BitMasks):
            return found
        bitmaps = np.concatenate([found.masks.bitmaps[:1], usual.masks.bitmaps[1:]])
        return replace(found, masks=BitMasks(bitmaps))


class TogetherDefault(SoftModel):
    """Another way through the network for several images, in which options are forgotten."""

    def predict(self, images: Sequence[Image], options: PredictOptions, /) -> Found:
        if len(images) > 1:
            options = replace(options, max_detections=100)
        return super().predict(images, options)


class SharedLimit(SoftModel):
    """Keeps the best of all images of a call together."""

    def predict(self, images: Sequence[Image], options: PredictOptions, /) -> Found:
        left = options.max_detections
        answers = []
        for found in super().predict(images, options):
            answers.append(keeping_all(found, slice(left)))
            left = max(0, left - len(found))
        return answers


def keeping_all(found: Detections, keep: slice) -> Detections:
    masks = found.masks and found.masks.take(np.arange(len(found))[keep])
    return replace(keeping(found, keep), masks=masks)


class NoScoreThreshold(SoftModel):
    def predict(self, images: Sequence[Image], options: PredictOptions, /) -> Found:
        return super().predict(images, replace(options, score_threshold=0.0))


class Float64(SoftModel):
    """Compares in float64, in which 0.7 is more than a float32 score of 0.7."""

    def predict(self, images: Sequence[Image], options: PredictOptions, /) -> Found:
        return [
            keeping_all(
                f, slice(int((f.scores.astype(np.float64) >= options.score_threshold).sum()))
            )
            for f in super().predict(images, replace(options, score_threshold=0.0))
        ]


class Floor(SoftModel):
    """Never goes below the operator's default."""

    def predict(self, images: Sequence[Image], options: PredictOptions, /) -> Found:
        least = max(options.score_threshold, self.floor)
        return super().predict(images, replace(options, score_threshold=least))

    def __init__(self, config: ModelConfig, name: str) -> None:
        super().__init__(config, name)
        self.floor = config.score_threshold or 0.0


class MasksStay(SoftModel):
    """Chooses boxes by score, and takes the masks from the end."""

    def predict(self, images: Sequence[Image], options: PredictOptions, /) -> Found:
        everything = super().predict(images, replace(options, score_threshold=0.0))
        kept = super().predict(images, options)
        return [
            replace(few, masks=BitMasks(all_.masks.bitmaps[len(all_) - len(few) :]))
            if isinstance((all_ := whole(one)).masks, BitMasks)
            else few
            for few, one in zip(kept, everything, strict=True)
        ]


class OneMore(SoftModel):
    def predict(self, images: Sequence[Image], options: PredictOptions, /) -> Found:
        return super().predict(images, replace(options, max_detections=options.max_detections + 1))


class OneLess(SoftModel):
    def predict(self, images: Sequence[Image], options: PredictOptions, /) -> Found:
        most = max(1, options.max_detections - 1)
        return super().predict(images, replace(options, max_detections=most))


class PerClass(SoftModel):
    """Keeps so many of each class, of which the fake finds one."""

    def predict(self, images: Sequence[Image], options: PredictOptions, /) -> Found:
        return super().predict(images, replace(options, max_detections=100))


class Last(SoftModel):
    def predict(self, images: Sequence[Image], options: PredictOptions, /) -> Found:
        found = super().predict(images, replace(options, max_detections=100))
        return [keeping_all(f, slice(max(0, len(f) - options.max_detections), None)) for f in found]


class Confused(SoftModel):
    """Takes one threshold for the other."""

    def predict(self, images: Sequence[Image], options: PredictOptions, /) -> Found:
        least = max(options.score_threshold, options.mask_threshold)
        found = super().predict(images, options)
        return [keeping_all(f, slice(int((f.scores >= np.float32(least)).sum()))) for f in found]


class FewerWithoutMasks(SoftModel):
    def predict(self, images: Sequence[Image], options: PredictOptions, /) -> Found:
        found = super().predict(images, options)
        return found if options.masks else [keeping_all(f, slice(1)) for f in found]


class Remembers(SoftModel):
    """Keeps the answer to an image that it has seen with the same score threshold and limit."""

    def __init__(self, config: ModelConfig, name: str) -> None:
        super().__init__(config, name)
        self.seen: dict[object, Detections] = {}

    def predict(self, images: Sequence[Image], options: PredictOptions, /) -> Found:
        answers = []
        for image in images:
            key = (image.tobytes(), image.shape, replace(options, mask_threshold=0.5))
            if key not in self.seen:
                self.seen[key] = super().predict([image], options)[0]
            answers.append(self.seen[key])
        return answers


class NeverAgain(SoftModel):
    """Makes no more masks once a request wanted none."""

    wanted = True

    def predict(self, images: Sequence[Image], options: PredictOptions, /) -> Found:
        self.wanted = self.wanted and options.masks
        return super().predict(images, replace(options, masks=self.wanted))


class KeepsHighest(BitModel):
    """Never goes back below a threshold that was asked for once."""

    highest = 0.0

    def predict(self, images: Sequence[Image], options: PredictOptions, /) -> Found:
        self.highest = max(self.highest, options.mask_threshold)
        return super().predict(images, replace(options, mask_threshold=self.highest))


class Unpicked(RunLengthMasks):
    def take(self, places: np.ndarray) -> RunLengthMasks:
        return RunLengthMasks(self.runs[: len(places)], self.size)


class InNoOrder(RunLengthMasks):
    """Ignores in which order it is asked for."""

    def rle(self, order: Order) -> list[RLE]:
        return [dataclasses.replace(r, order=order) for r in super().rle("rows")]


def with_masks(kind: type[RunLengthMasks]) -> type[GoodModel]:
    class WithMasks(SoftModel):
        def predict(self, images: Sequence[Image], options: PredictOptions, /) -> Found:
            return [
                f if f.masks is None else replace(f, masks=kind(f.masks.rle("rows"), f.size))
                for f in super().predict(images, options)
            ]

    return WithMasks


HONOURED = "mask threshold is honoured"
PASTED = "mask threshold is applied to the pasted mask"
EACH = "options hold for every image of a call"
INCLUSIVE = "score threshold is inclusive"
BEST = "max detections keeps the best"
BROKEN: dict[str, tuple[type[GoodModel], str, str]] = {
    "fixed": (Fixed, HONOURED, "pass it on"),
    "fixed bitmaps": (FixedBitmaps, HONOURED, "masks are the same at"),
    "fixed run lengths": (FixedRuns, HONOURED, "masks are the same at"),
    "the first call's": (AtLoad, HONOURED, "masks are the same at"),
    "twice": (Squared, HONOURED, "pass it on"),
    "clipped": (Clipped, HONOURED, "pass it on"),
    "rounded": (Rounded, HONOURED, "pass it on"),
    "a default of its own": (AnotherDefault, HONOURED, "added pixels"),
    "inverted": (Below, HONOURED, "added pixels"),
    "one minus": (OneMinus, HONOURED, "masks are the same|added pixels"),
    "more than": (MoreThan, HONOURED, "at this probability or more"),
    "before and after pasting": (BinarySoft, PASTED, "leave them as they are|nothing between"),
    "at 0.5 before pasting": (BinaryAtHalf, PASTED, "0 or 1 and nothing between"),
    "cleared before pasting": (ZeroesBelow, PASTED, "leave them as they are"),
    "before resizing": (Blocks, PASTED, "resize the probabilities, and threshold then"),
    "before resizing 14": (BlocksOf14, PASTED, "resize the probabilities, and threshold then"),
    "before resizing, as runs": (BlocksAsRuns, PASTED, "resize the probabilities"),
    "first image's mask": (only_first(mask_threshold=0.5), EACH, "each image of a call"),
    "first image's bitmap": (OnlyFirstBitmaps, EACH, "each image of a call"),
    "first image's score": (only_first(score_threshold=0.0), EACH, "each image of a call"),
    "first image's limit": (only_first(max_detections=100), EACH, "each image of a call"),
    "first image without masks": (only_first(masks=True), EACH, "each image of a call"),
    "first instance's mask": (OnlyFirstInstance, PASTED, r"mask of detection 1 \(from 0\)"),
    "forgotten in company": (TogetherDefault, EACH, "each image of a call"),
    "one limit for all images": (SharedLimit, EACH, "each image of a call"),
    "no score threshold": (NoScoreThreshold, INCLUSIVE, "keep score >= threshold"),
    "float64": (Float64, INCLUSIVE, "compared in float32"),
    "masks of others": (MasksStay, INCLUSIVE, "along with the scores"),
    "a floor": (Floor, "a request may ask for less than the default", "it is a default"),
    "one too many": (OneMore, BEST, "keep the first"),
    "one too few": (OneLess, BEST, "keep the first"),
    "of each class": (PerClass, BEST, "keep the first"),
    "the worst": (Last, BEST, "keep the first"),
    "thresholds confused": (Confused, "an option changes nothing else", "an effect of its own"),
    "fewer boxes": (FewerWithoutMasks, "an option changes nothing else", "an effect of its own"),
    "remembered": (Remembers, HONOURED, "pass it on"),
    "highest so far": (KeepsHighest, "nothing of a call is kept for the next", "keep no options"),
    "no more masks": (NeverAgain, "nothing of a call is kept for the next", "keep no options"),
    "picked wrongly": (with_masks(Unpicked), "masks can be picked", "masks of others"),
    "in no order": (with_masks(InNoOrder), "masks can be picked", "of different bitmaps"),
}
"""Models, the check that must catch each, and a pattern of what it says."""


OTHERS = [
    name.removeprefix("test_")
    for name in dir(BackendConformance)
    if name.startswith("test_") and not hasattr(OptionChecks, name)
]
"""Checks of other things than options."""


@pytest.mark.parametrize("name", BROKEN)
def test_a_model_that_mistreats_an_option_is_caught(name: str, model_dir: Path) -> None:
    model, check, said = BROKEN[name]
    found = caught(GoodBackend(model), model_dir, OTHERS, least=10)
    assert check in found
    assert re.search(said, found[check])


def test_every_check_of_options_catches_something() -> None:
    checks = {name for name in dir(OptionChecks) if name.startswith("test_")}
    elsewhere = {"test_masks_can_be_left_out", "test_proposals_come_when_asked_for"}
    assert checks - elsewhere == {f"test_{c.replace(' ', '_')}" for _, c, _ in BROKEN.values()}

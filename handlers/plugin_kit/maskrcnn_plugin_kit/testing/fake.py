"""A backend without a framework: it finds rectangles of colour, fast and predictably."""

from collections.abc import Sequence

import numpy as np

from maskrcnn_server.backend import Image, Model, ModelConfig, ModelMetadata, PredictOptions, Probe
from maskrcnn_server.categories import named
from maskrcnn_server.detections import Detections, Proposals
from maskrcnn_server.errors import InvalidSetting
from maskrcnn_server.keys import Keys
from maskrcnn_server.masks import RoiMasks

COLOURS = ("red", "green", "blue")


class FakeBackend:
    """Backend that loads any folder; its model detects one object per channel that is bright
    somewhere."""

    name = "fake"
    keys = Keys()

    def probe(self, config: ModelConfig, /) -> Probe | None:
        return Probe(facts={"framework": "none"}) if config.model_dir.is_dir() else None

    def load(self, config: ModelConfig, /) -> Model:
        if config.engine != "auto" or config.precision != "float32":
            raise InvalidSetting(f"engine {config.engine} in {config.precision}: there is no such")
        return FakeModel(0.5 if config.score_threshold is None else config.score_threshold)


class FakeModel:
    """Model that detects, for each channel, a box around the pixels above 127, with a mask that
    fills it; the score is the largest value / 255, descending."""

    def __init__(self, score_threshold: float) -> None:
        self.metadata = ModelMetadata(
            name="colours",
            backend="fake",
            categories=named(COLOURS),
            score_threshold=score_threshold,
        )

    def predict(self, images: Sequence[Image], options: PredictOptions, /) -> list[Detections]:
        return [self._one(image, options) for image in images]

    def close(self) -> None:
        """Does nothing: there are no resources."""

    def _one(self, image: Image, options: PredictOptions) -> Detections:
        scores = image.max(axis=(0, 1)).astype(np.float32) / np.float32(255)
        order = np.argsort(-scores, kind="stable")
        order = order[(scores[order] >= options.score_threshold) & (scores[order] > 0.5)]
        order = order[: options.max_detections]
        boxes = np.zeros((len(order), 4), np.float32)
        for i, channel in enumerate(order):
            ys, xs = np.nonzero(image[:, :, channel] > 127)
            boxes[i] = xs.min(), ys.min(), xs.max() + 1, ys.max() + 1
        size = (image.shape[0], image.shape[1])
        filled = np.ones((len(order), 28, 28), np.float32)
        return Detections(
            size=size,
            boxes=boxes,
            scores=scores[order],
            category_ids=order.astype(np.int64) + 1,
            masks=RoiMasks(filled, boxes, size, options.mask_threshold) if options.masks else None,
            proposals=self._proposals(boxes, scores[order]) if options.proposals else None,
        )

    def _proposals(self, boxes: np.ndarray, scores: np.ndarray) -> Proposals:
        class_scores = np.zeros((len(boxes), 1 + len(COLOURS)), np.float32)
        class_scores[:, 0] = 1
        return Proposals(boxes, scores, class_scores)

"""A model that finds ninety instances of thirty-five classes in every picture."""

import numpy as np

from maskrcnn_plugin_kit.testing.fake import FakeModel
from maskrcnn_server.backend import Image, ModelMetadata, PredictOptions
from maskrcnn_server.categories import coco
from maskrcnn_server.detections import Detections
from maskrcnn_server.masks import RoiMasks

COUNT = 90
CLASSES = 35
SIDE = 28


class Crowd(FakeModel):
    """Ellipses in a grid, of COCO's categories."""

    def __init__(self, score_threshold: float = 0.5) -> None:
        super().__init__(score_threshold)
        self.metadata = ModelMetadata(
            name="crowd", backend="fake", categories=coco(), score_threshold=score_threshold
        )

    def _one(self, image: Image, options: PredictOptions) -> Detections:
        height, width = image.shape[:2]
        random = np.random.default_rng(7)
        scores = np.sort(random.uniform(0.06, 0.99, 2 * COUNT))[::-1].astype(np.float32)
        scores[:COUNT] = np.linspace(0.995, 0.52, COUNT)
        scores[COUNT:] = np.linspace(0.49, 0.06, COUNT)
        n = int((scores >= options.score_threshold).sum())
        middles = random.uniform(0.06, 0.94, (n, 2)) * (width, height)
        halves = random.uniform(0.02, 0.07, (n, 2)) * max(width, height)
        boxes = np.hstack([middles - halves, middles + halves])
        boxes = boxes.clip(0, (width, height, width, height)).astype(np.float32)
        place = (np.arange(SIDE) + 0.5) / SIDE * 2 - 1
        ellipse = 1 / (1 + np.exp(9 * (np.hypot(place[:, None], place[None, :]) - 0.9)))
        soft = np.repeat(ellipse[None].astype(np.float32), n, axis=0)
        categories = random.integers(1, CLASSES + 1, n).astype(np.int64)
        masks = RoiMasks(soft, boxes, (height, width), options.mask_threshold)
        return Detections((height, width), boxes, scores[:n], categories, masks)

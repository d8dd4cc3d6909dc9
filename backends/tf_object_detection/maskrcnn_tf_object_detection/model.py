"""Graphs of the Object Detection API as the server's `Model`."""

from collections.abc import Sequence

import numpy as np
import PIL.Image
from numpy.typing import NDArray

from maskrcnn_network.preparation import clipped
from maskrcnn_network.reframed_masks import ReframedMasks
from maskrcnn_server.backend import Image, ModelMetadata, PredictOptions
from maskrcnn_server.detections import Detections
from maskrcnn_server.errors import InvalidModel
from maskrcnn_server.stopwatch import stage
from maskrcnn_tensorflow.graph_file import Tensor
from maskrcnn_tensorflow.graph_session import GraphSession
from maskrcnn_tf_object_detection.folder import MASKS, NEEDED


class ExportedModel:
    """Runs one image after the other, and turns what the graph gives into `Detections`."""

    def __init__(self, metadata: ModelMetadata, image: Tensor, session: GraphSession) -> None:
        self.metadata = metadata
        self._image = image
        self._session = session

    def predict(self, images: Sequence[Image], options: PredictOptions, /) -> list[Detections]:
        return [self._predict(image, options) for image in images]

    def close(self) -> None:
        self._session.close()

    def _predict(self, image: Image, options: PredictOptions) -> Detections:
        size = image.shape[0], image.shape[1]
        with_masks = options.masks and self.metadata.has_masks
        wanted = [*NEEDED, *([MASKS] if with_masks else [])]
        with stage("preprocess"):
            pixels = _fitted(image, self._image.dims).astype(self._image.dtype)[None]
        with stage("network"):
            found = self._session.run(wanted, {self._image.name: pixels})
        # Some frozen graphs have no batch.
        relative = found[0].reshape(-1, 4).astype(np.float32)
        scores, labels = (part.reshape(-1) for part in found[1:3])
        scores = scores.astype(np.float32).clip(0, 1)
        kept = self._kept(scores[: int(found[3].reshape(-1)[0])], options)
        relative, scores = relative[kept], scores[kept]
        labels = np.rint(labels[kept]).astype(np.int64)
        self._check(labels)
        ends = np.array([*size, *size], np.float32)[[0, 1, 0, 1]]
        boxes = clipped((relative * ends)[:, [1, 0, 3, 2]], size)
        boxes[:, 2:] = np.maximum(boxes[:, 2:], boxes[:, :2])
        masks = None
        if with_masks:
            soft = found[4].reshape(-1, *found[4].shape[-2:])[kept].astype(np.float32)
            masks = ReframedMasks(soft, relative, size, options.mask_threshold)
        return Detections(size, boxes, scores, labels, masks)

    def _kept(self, scores: NDArray[np.float32], options: PredictOptions) -> NDArray[np.intp]:
        """Indices of the wanted detections, best first."""
        order = np.argsort(-scores, kind="stable")
        wanted = order[scores[order] >= np.float32(options.score_threshold)]
        return wanted[: options.max_detections]

    def _check(self, labels: NDArray[np.int64]) -> None:
        classes = len(self.metadata.categories)
        if len(labels) and not 1 <= labels.min() <= labels.max() <= classes:
            raise InvalidModel(
                f"the model found classes {labels.min()} to {labels.max()}, but 1 to {classes} are "
                "known: put the label map of its training next to it"
            )


def _fitted(image: Image, dims: tuple[int, ...] | None) -> Image:
    """The image as large as the graph takes it."""
    height, width = (-1, -1) if dims is None else dims[1:3]
    if height < 0 and width < 0:
        return image
    size = (width if width > 0 else image.shape[1], height if height > 0 else image.shape[0])
    return np.asarray(PIL.Image.fromarray(image).resize(size, PIL.Image.Resampling.BILINEAR))

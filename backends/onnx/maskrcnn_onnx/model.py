"""A network that this server exported, as the server's `Model`."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from maskrcnn_onnx import preprocess
from maskrcnn_onnx.description import Description
from maskrcnn_onnx.placing import box_scale, clipped, mask_boxes
from maskrcnn_onnx.preprocess import Pixels
from maskrcnn_onnx.session import Feed, Session
from maskrcnn_server.backend import Image, ModelMetadata, PredictOptions
from maskrcnn_server.detections import Detections, Proposals
from maskrcnn_server.masks import RoiMasks
from maskrcnn_server.rle import Size
from maskrcnn_server.stopwatch import stage

MAX_BATCH = 4
"""Images in one run of the network at most: each takes about half a gigabyte on its way."""


class Found(NamedTuple):
    """The network's outputs, by its own names for them."""

    boxes: NDArray[np.float32]
    scores: NDArray[np.float32]
    labels: NDArray[np.int64]
    images_of: NDArray[np.int64]
    proposal_boxes: NDArray[np.float32]
    proposal_scores: NDArray[np.float32]
    proposal_images: NDArray[np.int64]
    class_scores: NDArray[np.float32]
    masks: NDArray[np.float32] | None = None


class OnnxModel:
    """Runs images through the network, those of equal padded size together."""

    def __init__(self, metadata: ModelMetadata, description: Description, session: Session) -> None:
        self.metadata = metadata
        self.description = description
        self._rule = description.preprocessing
        self._session: Session | None = session

    def predict(self, images: Sequence[Image], options: PredictOptions, /) -> list[Detections]:
        with stage("preprocess"):
            sizes = [preprocess.resized_size(_size(image), self._rule) for image in images]
        results: dict[int, Detections] = {}
        for group in _groups([preprocess.padded_size(size, self._rule) for size in sizes]):
            found = self._run([images[i] for i in group], [sizes[i] for i in group], options)
            results.update(zip(group, found, strict=True))
        return [results[i] for i in range(len(images))]

    @property
    def batch_pixels(self) -> int:
        return 0

    def network_shape(self, size: Size, /) -> Size:
        return preprocess.padded_size(preprocess.resized_size(size, self._rule), self._rule)

    def close(self) -> None:
        self._session = None

    def feed_of(self, image: Image, /) -> Feed:
        """The network's inputs for an image, with detections whatever they score."""
        size = preprocess.resized_size(_size(image), self._rule)
        return self._feed([image], [size], PredictOptions(score_threshold=0.0))

    def with_session(self, session: Session) -> "OnnxModel":
        """The same, computed by another session."""
        return OnnxModel(self.metadata, self.description, session)

    def _feed(self, images: list[Image], sizes: list[Size], options: PredictOptions) -> Feed:
        """What goes into the network for images of equal padded sizes, resized to `sizes`."""
        seen = [preprocess.resized(i, s, self._rule) for i, s in zip(images, sizes, strict=True)]
        asked = options.score_threshold
        threshold = self.metadata.score_threshold if asked is None else asked
        most = self.description.detections
        return {
            "images": preprocess.batch(
                seen, preprocess.padded_size(sizes[0], self._rule), self._rule
            ),
            "sizes": np.array(sizes, np.int64),
            "score_threshold": np.array(threshold, np.float32),
            "limit": np.array([min(options.max_detections or most, most)], np.int64),
            "with_masks": np.array([options.masks]),
        }

    def _run(
        self, images: list[Image], sizes: list[Size], options: PredictOptions
    ) -> list[Detections]:
        if self._session is None:
            raise RuntimeError("the model is closed")
        with stage("preprocess"):
            feed = self._feed(images, sizes, options)
        names = [name for name in Found._fields if name != "masks" or self.metadata.has_masks]
        with stage("network"):
            found = Found(*self._session.run(names, feed))
        return [
            self._detections(i, image, size, found, options)
            for i, (image, size) in enumerate(zip(images, sizes, strict=True))
        ]

    def _detections(
        self, i: int, image: Image, seen: Size, found: Found, options: PredictOptions
    ) -> Detections:
        """Of image `i` of a batch, in its own pixels."""
        size = _size(image)
        scale = box_scale(size, seen, self.description)
        own, own_proposals = found.images_of == i, found.proposal_images == i
        boxes = clipped(found.boxes[own] / scale, size)
        masks = None
        if options.masks and found.masks is not None:
            where = mask_boxes(boxes, found.masks.shape[-1], self.description)
            masks = RoiMasks(found.masks[own], where, size, options.mask_threshold)
        return Detections(
            size=size,
            boxes=boxes,
            scores=found.scores[own],
            category_ids=found.labels[own],
            masks=masks,
            proposals=Proposals(
                boxes=clipped(found.proposal_boxes[own_proposals] / scale, size),
                scores=found.proposal_scores[own_proposals],
                class_scores=found.class_scores[own_proposals],
            )
            if options.proposals
            else None,
        )


def _groups(shapes: list[Size]) -> list[list[int]]:
    """Indices of equal shapes together, at most `MAX_BATCH` of them."""
    by_shape: dict[Size, list[int]] = {}
    for i, shape in enumerate(shapes):
        by_shape.setdefault(shape, []).append(i)
    return [
        indices[start : start + MAX_BATCH]
        for indices in by_shape.values()
        for start in range(0, len(indices), MAX_BATCH)
    ]


def _size(image: Image | Pixels) -> Size:
    return image.shape[0], image.shape[1]

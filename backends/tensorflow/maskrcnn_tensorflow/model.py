"""A Mask R-CNN in memory, as the server's `Model`."""

from collections.abc import Sequence

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from maskrcnn_network.architecture import Architecture
from maskrcnn_network.config import NetworkConfig
from maskrcnn_server.backend import Image, ModelMetadata, Precision, PredictOptions
from maskrcnn_server.detections import Detections, Proposals
from maskrcnn_server.masks import RoiMasks
from maskrcnn_server.rle import Size
from maskrcnn_server.stopwatch import stage
from maskrcnn_server.trace import Floats, Labels, Trace
from maskrcnn_tensorflow import preprocess
from maskrcnn_tensorflow.graph import Graph, Operators, Stages
from maskrcnn_tensorflow.heads import Found
from maskrcnn_tensorflow.layers import fold
from maskrcnn_tensorflow.precision import dtype
from maskrcnn_tensorflow.profile import Profile

MAX_BATCH = 4
"""Images in one run of the network at most: each takes about half a gigabyte on its way."""
GPU_PIXELS = 4_000_000
"""In one run, that keep a GPU busy; never measured. A CPU is kept busy by one image."""


class TensorFlowModel:
    """Runs images through the network, those of equal padded size together."""

    def __init__(
        self,
        metadata: ModelMetadata,
        architecture: Architecture,
        config: NetworkConfig,
        operators: Operators,
        variables: dict[str, NDArray[np.float32]],
        precision: Precision = "float32",
    ) -> None:
        """`variables` by their checkpoint names; rows of flattened regions run y, x, channel.

        Raises InvalidSetting if this machine does not compute in `precision`.
        """
        self.metadata = metadata
        self._config = config
        layers = fold(variables, config, dtype(precision))
        self._graph: Graph | None = Graph(layers, architecture, config, operators)
        self._profile: Profile | None = None

    def predict(self, images: Sequence[Image], options: PredictOptions, /) -> list[Detections]:
        results: dict[int, Detections] = {}
        for group in _groups([self.network_shape(_size(image)) for image in images]):
            found = self._run([images[i] for i in group], options)
            results.update(zip(group, found, strict=True))
        return [results[i] for i in range(len(images))]

    @property
    def batch_pixels(self) -> int:
        return GPU_PIXELS if tf.config.list_physical_devices("GPU") else 0

    def network_shape(self, size: Size, /) -> Size:
        return preprocess.padded_size(preprocess.resized_size(size, self._config), self._config)

    def close(self) -> None:
        self._graph = self._profile = None

    def stages(self, images: list[Image], options: PredictOptions) -> Stages:
        """What the network computes of images whose padded sizes are equal."""
        graph = self._open()
        threshold, limit = self._kept(options)
        with stage("preprocess"):
            pixels = preprocess.batch(images, self._config)
        sizes = self._sizes(images)
        with stage("network"):
            stages: Stages = graph.detect(pixels, sizes, np.float32(threshold), np.int32(limit))
        return stages

    def profile(self, image: Image, options: PredictOptions, /) -> dict[str, float]:
        self._profile = self._profile or Profile(self._open())
        pixels = preprocess.batch([image], self._config)
        return self._profile.seconds(pixels, self._sizes([image]), *self._kept(options))

    def trace(self, image: Image, options: PredictOptions, /) -> Trace:
        """What `predict` computes of `image` on its way."""
        resized = preprocess.resized(image, self._config)
        stages = self.stages([image], options)
        masks = self._masks(stages) if self.metadata.has_masks else None
        (detections,) = self._detections([image], stages, masks, options)
        threshold, limit = self._kept(options)

        def mask(boxes: Floats, labels: Labels) -> Floats:
            ours = Found(
                boxes,
                np.ones(len(boxes), np.float32),
                labels.astype(np.int32),
                np.zeros(len(boxes), np.int32),
            )
            return self._masks(stages._replace(found=ours))

        return Trace(
            resized=np.rint(resized).astype(np.uint8),
            features=tuple(np.asarray(feature)[0] for feature in stages.features),
            proposals=np.asarray(stages.proposals.boxes),
            class_scores=np.asarray(stages.probabilities),
            boxes=np.asarray(stages.found.boxes),
            scores=np.asarray(stages.found.scores),
            labels=np.asarray(stages.found.labels, np.int64),
            soft_masks=masks,
            detections=detections,
            least_score=threshold,
            limit=limit,
            mask=mask if self.metadata.has_masks else None,
        )

    def _run(self, images: list[Image], options: PredictOptions) -> list[Detections]:
        stages = self.stages(images, options)
        masks = self._masks(stages) if options.masks and self.metadata.has_masks else None
        return self._detections(images, stages, masks, options)

    def _detections(
        self,
        images: list[Image],
        stages: Stages,
        masks: NDArray[np.float32] | None,
        options: PredictOptions,
    ) -> list[Detections]:
        """Of each image, in its own pixels."""
        boxes, scores, labels, owners = (np.asarray(t) for t in stages.found)
        results = []
        for i, image in enumerate(images):
            size = _size(image)
            scale = preprocess.box_scale(size, self._config)
            own = owners == i
            own_boxes = _clipped(boxes[own] / scale, size)
            results.append(
                Detections(
                    size=size,
                    boxes=own_boxes,
                    scores=scores[own],
                    category_ids=labels[own].astype(np.int64),
                    masks=None
                    if masks is None
                    else RoiMasks(
                        masks[own],
                        self._config.mask_boxes(own_boxes),
                        size,
                        options.mask_threshold,
                    ),
                    proposals=_proposals(stages, i, scale, size) if options.proposals else None,
                )
            )
        return results

    def _masks(self, stages: Stages) -> NDArray[np.float32]:
        graph = self._open()
        with stage("network"):
            return np.asarray(graph.masks(stages.features, stages.found), np.float32)

    def _sizes(self, images: list[Image]) -> NDArray[np.int32]:
        """Height and width (batch, 2) of resized images, without padding."""
        sizes = [preprocess.resized_size(_size(image), self._config) for image in images]
        return np.array(sizes, np.int32)

    def _kept(self, options: PredictOptions) -> tuple[float, int]:
        """The least score of a detection, and how many there may be."""
        asked = options.score_threshold
        most = self._config.detections
        threshold = self.metadata.score_threshold if asked is None else asked
        return threshold, min(options.max_detections or most, most)

    def _open(self) -> Graph:
        if self._graph is None:
            raise RuntimeError("the model is closed")
        return self._graph


def _groups(sizes: list[Size]) -> list[list[int]]:
    """Indices of equal sizes together, at most `MAX_BATCH` of them."""
    by_size: dict[Size, list[int]] = {}
    for i, size in enumerate(sizes):
        by_size.setdefault(size, []).append(i)
    return [
        indices[start : start + MAX_BATCH]
        for indices in by_size.values()
        for start in range(0, len(indices), MAX_BATCH)
    ]


def _proposals(stages: Stages, image: int, scale: NDArray[np.float32], size: Size) -> Proposals:
    own = np.asarray(stages.proposals.images) == image
    boxes = np.asarray(stages.proposals.boxes)[own] / scale
    return Proposals(
        boxes=_clipped(boxes, size),
        scores=np.asarray(stages.proposals.scores)[own],
        class_scores=np.asarray(stages.probabilities)[own],
    )


def _clipped(boxes: NDArray[np.float32], size: Size) -> NDArray[np.float32]:
    height, width = size
    return np.clip(boxes, 0, np.array([width, height, width, height], np.float32))


def _size(image: Image) -> Size:
    return image.shape[0], image.shape[1]

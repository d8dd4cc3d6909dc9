"""A loaded Mask R-CNN as the server's `Model`: images in, detections out."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from maskrcnn_network.engine import (
    Integers,
    Output,
    RunOptions,
    RunsBatches,
    Session,
    ShowsStages,
    TimesParts,
)
from maskrcnn_network.preparation import Floats, Paste, Preparation, mask_boxes
from maskrcnn_server.backend import Image, ModelMetadata, PredictOptions
from maskrcnn_server.detections import Detections, Proposals
from maskrcnn_server.errors import InvalidSetting
from maskrcnn_server.masks import RoiMasks
from maskrcnn_server.rle import Size
from maskrcnn_server.trace import Trace

MAX_BATCH = 4
"""Maximum number of images in one call, if the session does not specify it."""


@dataclass(frozen=True, kw_only=True)
class Reading:
    """How images become the network's input, and its output detections."""

    preparation: Preparation
    paste: Paste
    detections: int
    """Maximum number of detections of an image."""


class NetworkModel:
    """Runs images through the network, those of equal padded size together."""

    def __init__(self, metadata: ModelMetadata, reading: Reading, session: Session) -> None:
        self.metadata = metadata
        self.reading = reading
        self._rule = reading.preparation
        self._session: Session | None = session
        self._batches = session if isinstance(session, RunsBatches) else None

    def predict(self, images: Sequence[Image], options: PredictOptions, /) -> list[Detections]:
        sizes = [self._rule.resized_size(_size(image)) for image in images]
        results: dict[int, Detections] = {}
        for group in self._groups([self._rule.padded_size(size) for size in sizes]):
            found = self._run([images[i] for i in group], [sizes[i] for i in group], options)
            results.update(zip(group, found, strict=True))
        return [results[i] for i in range(len(images))]

    @property
    def batch_pixels(self) -> int:
        return self._batches.batch_pixels if self._batches else 0

    def network_shape(self, size: Size, /) -> Size:
        return self._rule.padded_size(self._rule.resized_size(size))

    def close(self) -> None:
        if self._session is not None:
            self._session.close()
        self._session = self._batches = None

    @property
    def session(self) -> Session:
        """The network with its weights. Raises RuntimeError once the model is closed."""
        if self._session is None:
            raise RuntimeError("the model is closed")
        return self._session

    def profile(self, image: Image, options: PredictOptions, /) -> Mapping[str, float]:
        """Seconds of each part of the network. Raises InvalidSetting if the engine has no timer."""
        if not isinstance(self.session, TimesParts):
            raise InvalidSetting("this engine cannot time the parts of a network: use another one")
        size = self._rule.resized_size(_size(image))
        return self.session.seconds(image, size, self._run_options(options))

    def trace(self, image: Image, options: PredictOptions, /) -> Trace:
        """Intermediate results of `predict` for `image`.

        Raises InvalidSetting if the engine cannot show them.
        """
        session = self.session
        if not isinstance(session, ShowsStages):
            raise InvalidSetting("this engine cannot show the stages of a network: use another one")
        size, run_options = self._rule.resized_size(_size(image)), self._run_options(options)
        features, output = session.stages(image, size, run_options)
        assert output.proposals is not None  # noqa: S101 (`stages` always has them)

        def mask(boxes: Floats, labels: Integers) -> Floats:
            return session.masks_of(features, self._rule.network_boxes(boxes, size), labels)

        (detections,) = self._detections([image], [size], output, options)
        return Trace(
            resized=np.rint(self._rule.resized(image, size)).astype(np.uint8),
            features=features,
            proposals=self._rule.resized_boxes(output.proposals.boxes, size),
            class_scores=output.proposals.class_scores,
            boxes=self._rule.resized_boxes(output.boxes, size),
            scores=output.scores,
            labels=output.labels,
            soft_masks=output.masks,
            detections=detections,
            min_score=run_options.score_threshold,
            limit=run_options.limit,
            mask=mask if self.metadata.has_masks else None,
        )

    def _run_options(self, options: PredictOptions) -> RunOptions:
        return RunOptions(
            score_threshold=options.score_threshold,
            limit=min(options.max_detections, self.reading.detections),
            masks=options.masks and self.metadata.has_masks,
            proposals=options.proposals,
        )

    def _run(
        self, images: list[Image], sizes: list[Size], options: PredictOptions
    ) -> list[Detections]:
        output = self.session.run(images, sizes, self._run_options(options))
        return self._detections(images, sizes, output, options)

    def _detections(
        self, images: list[Image], sizes: list[Size], output: Output, options: PredictOptions
    ) -> list[Detections]:
        """The detections of each image, in its own pixels."""
        results = []
        for i, (image, resized) in enumerate(zip(images, sizes, strict=True)):
            size, own = _size(image), np.flatnonzero(output.images == i)
            boxes = self._rule.image_boxes(output.boxes[own], size, resized)
            shown = self._rule.shown(boxes)
            own, boxes = own[shown], boxes[shown]
            masks = None
            if options.masks and output.masks is not None:
                where = mask_boxes(boxes, output.masks.shape[-1], self.reading.paste)
                masks = RoiMasks(output.masks[own], where, size, options.mask_threshold)
            results.append(
                Detections(
                    size=size,
                    boxes=boxes,
                    scores=output.scores[own],
                    category_ids=output.labels[own],
                    masks=masks,
                    proposals=self._proposals(output, i, size, resized)
                    if options.proposals
                    else None,
                )
            )
        return results

    def _proposals(self, output: Output, image: int, size: Size, resized: Size) -> Proposals | None:
        seen = output.proposals
        if seen is None:
            return None
        own = seen.images == image
        return Proposals(
            boxes=self._rule.image_boxes(seen.boxes[own], size, resized),
            scores=seen.scores[own],
            class_scores=seen.class_scores[own],
        )

    def _groups(self, shapes: list[Size]) -> list[list[int]]:
        """Indices of equal shapes in groups, no larger than the session takes."""
        most = self._batches.max_batch if self._batches else MAX_BATCH
        by_shape: dict[Size, list[int]] = {}
        for i, shape in enumerate(shapes):
            by_shape.setdefault(shape, []).append(i)
        return [
            indices[start : start + most]
            for indices in by_shape.values()
            for start in range(0, len(indices), most)
        ]


def _size(image: Image) -> Size:
    return image.shape[0], image.shape[1]

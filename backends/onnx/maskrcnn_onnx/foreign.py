"""Networks exported by other programs, as the server's `Model`."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import PIL.Image
from numpy.typing import NDArray

from maskrcnn_network.preparation import clipped, mask_boxes
from maskrcnn_onnx.description import Description
from maskrcnn_onnx.layouts import SCORED, Layout
from maskrcnn_onnx.session import Feed, Session
from maskrcnn_server.backend import Image, ModelMetadata, PredictOptions
from maskrcnn_server.detections import Detections
from maskrcnn_server.errors import InvalidModel
from maskrcnn_server.masks import Masks, RoiMasks, RunLengthMasks
from maskrcnn_server.rle import Size, encode
from maskrcnn_server.stopwatch import stage


class ForeignModel:
    """Runs one image after the other, and turns the outputs into `Detections`."""

    def __init__(
        self,
        metadata: ModelMetadata,
        description: Description,
        layout: Layout,
        session: Session,
    ) -> None:
        self.metadata = metadata
        self._description = description
        self._rule = description.reading.preparation
        self._layout = layout
        self._session: Session | None = session

    def predict(self, images: Sequence[Image], options: PredictOptions, /) -> list[Detections]:
        return [self._predict(image, options) for image in images]

    def close(self) -> None:
        self._session = None

    def feed_of(self, image: Image, /) -> Feed:
        """The network's input for an image."""
        return {self._layout.image.name: self._pixels(image)[0]}

    def computed_by(self, session: Session) -> "ForeignModel":
        """A copy that is computed by another session."""
        return ForeignModel(self.metadata, self._description, self._layout, session)

    def _predict(self, image: Image, options: PredictOptions) -> Detections:
        if self._session is None:
            raise RuntimeError("the model is closed")
        size = image.shape[0], image.shape[1]
        with stage("preprocess"):
            pixels, seen = self._pixels(image)
        parts = self._layout.outputs.model_dump(exclude_none=True)
        if not options.masks:
            parts.pop("masks", None)
        with stage("network"):
            values = self._session.run(list(parts.values()), {self._layout.image.name: pixels})
        found: dict[str, NDArray[Any]] = dict(zip(parts, values, strict=True))
        boxes, scores, labels = _flat(found, self._description.first_label)
        kept = self._kept(scores, labels, options)
        boxes, scores, labels = boxes[kept], scores[kept], labels[kept]
        boxes = clipped(boxes / self._rule.box_scale(size, seen), size)
        boxes[:, 2:] = np.maximum(boxes[:, 2:], boxes[:, :2])
        masks = None
        if "masks" in found:
            soft = found["masks"].reshape(-1, *found["masks"].shape[-2:])
            with stage("paste"):
                if soft.shape[-2:] in (seen, pixels.shape[-2:]):
                    masks = _whole(soft, kept, seen, size, options.mask_threshold)
                else:
                    where = mask_boxes(boxes, soft.shape[-1], self._description.paste)
                    inside = soft[kept].astype(np.float32)
                    masks = RoiMasks(inside, where, size, options.mask_threshold)
        return Detections(
            size=size,
            boxes=boxes,
            scores=scores,
            category_ids=labels,
            masks=masks,
        )

    def _pixels(self, image: Image) -> tuple[NDArray[np.float32], Size]:
        """The network's input, and the size of the image in it."""
        rule = self._rule
        size = image.shape[0], image.shape[1]
        shape = self._layout.fixed_size
        if shape is not None:
            shrink = min(shape[0] / size[0], shape[1] / size[1])
            height, width = (max(1, int(edge * shrink + rule.rounding)) for edge in size)
            seen = min(height, shape[0]), min(width, shape[1])
        else:
            seen = rule.resized_size(size)
            shape = rule.padded_size(seen)
        pixels = rule.batch([image], [seen], shape)
        batch = np.ascontiguousarray(pixels.transpose(0, 3, 1, 2))
        return (batch if len(self._layout.image.dims or ()) == 4 else batch[0]), seen

    def _kept(
        self, scores: NDArray[np.float32], labels: NDArray[np.int64], options: PredictOptions
    ) -> NDArray[np.intp]:
        """Indices of the wanted detections, best first.

        Exports of MMDetection pad to a hundred with scores of 0, those of MMDeploy also with labels
        of -1.
        """
        asked = options.score_threshold
        threshold = np.float32(self.metadata.score_threshold if asked is None else asked)
        classes = len(self.metadata.categories)
        if labels.max(initial=0) > classes:
            raise InvalidModel(
                f"the model found class {labels.max()}, but only {classes} have names: name all "
                "classes in model.yaml, or correct first_label"
            )
        wanted = np.flatnonzero((scores >= threshold) & (scores > 0) & (labels >= 1))
        order = wanted[np.argsort(-scores[wanted], kind="stable")]
        most = self._description.detections
        return order[: min(options.max_detections or most, most)]


def _flat(
    found: dict[str, NDArray[Any]], first_label: int
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.int64]]:
    """Boxes (N, 4), scores (N,) and labels (N,) from 1 of a batch of one."""
    boxes = found["boxes"].reshape(-1, found["boxes"].shape[-1]).astype(np.float32)
    if boxes.shape[1] != SCORED and "scores" not in found:
        raise InvalidModel(
            "the model's boxes have no scores; name their output in model.yaml: "
            "outputs: {scores: NAME}"
        )
    scores = boxes[:, 4] if boxes.shape[1] == SCORED else found["scores"].reshape(-1)
    labels = found["labels"].reshape(-1).astype(np.int64) + (1 - first_label)
    scores = np.asarray(scores, np.float32).clip(0, 1)
    return boxes[:, :4], scores, labels


def _whole(
    soft: NDArray[Any], kept: NDArray[np.intp], seen: Size, size: Size, threshold: float
) -> Masks:
    """Masks `soft[kept]` of the network's input, whose part `seen` shows an image of `size`.

    They are sampled at the centres of the image's pixels, one at a time, because a hundred masks of
    a large image take gigabytes.
    """
    y, x = seen[0] / size[0], seen[1] / size[1]
    runs = []
    for i in kept:
        mask = soft[i, : seen[0], : seen[1]].astype(np.float32)
        if seen != size:
            resized = PIL.Image.fromarray(mask).transform(
                (size[1], size[0]),
                PIL.Image.Transform.AFFINE,
                (x, 0, 0, 0, y, 0),
                PIL.Image.Resampling.BILINEAR,
            )
            mask = np.asarray(resized)
        runs.append(encode(mask >= threshold, "columns"))
    return RunLengthMasks(runs, size)

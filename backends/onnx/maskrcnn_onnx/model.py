"""Networks exported by this project, as sessions of a `NetworkModel`."""

from collections.abc import Mapping, Sequence

import numpy as np

from maskrcnn_network.engine import Output, RankedBoxes, RunOptions
from maskrcnn_network.model import NetworkModel
from maskrcnn_onnx.description import Description
from maskrcnn_onnx.session import Feed, Session
from maskrcnn_server.backend import Image, ModelMetadata
from maskrcnn_server.rle import Size
from maskrcnn_server.stopwatch import stage

FOUND = ("boxes", "scores", "labels", "images_of")
PROPOSED = ("proposal_boxes", "proposal_scores", "proposal_images", "class_scores")


class OnnxModel(NetworkModel):
    """A model whose network was exported by this project."""

    def __init__(self, metadata: ModelMetadata, description: Description, session: Session) -> None:
        network = NativeSession(description, session, metadata.has_masks)
        super().__init__(metadata, description.reading, network)
        self.description = description

    def feed_of(self, image: Image, /) -> Feed:
        """The network's inputs for an image, with detections of any score."""
        size = self.reading.preparation.resized_size((image.shape[0], image.shape[1]))
        options = RunOptions(score_threshold=0.0, limit=self.reading.detections)
        return feed(self.description, [image], [size], options)

    def computed_by(self, session: Session) -> "OnnxModel":
        """A copy that is computed by another session."""
        return OnnxModel(self.metadata, self.description, session)


class NativeSession:
    """Runs a file with the inputs and outputs of this project's exports."""

    facts: Mapping[str, str] = {}

    def __init__(self, description: Description, session: Session, has_masks: bool) -> None:
        self._description = description
        self._session = session
        self._has_masks = has_masks

    def run(self, images: Sequence[Image], sizes: Sequence[Size], options: RunOptions, /) -> Output:
        with stage("preprocess"):
            given = feed(self._description, images, sizes, options)
        masks = ["masks"] if options.masks and self._has_masks else []
        proposed = PROPOSED if options.proposals else ()
        with stage("network"):
            values = self._session.run([*FOUND, *masks, *proposed], given)
        count = len(FOUND) + len(masks)
        boxes, scores, labels, images_of = values[: len(FOUND)]
        return Output(
            boxes,
            scores,
            labels,
            images_of,
            masks=values[len(FOUND)] if masks else None,
            proposals=RankedBoxes(*values[count:]) if proposed else None,
        )

    def close(self) -> None:
        """Nothing to free: the session is freed with the model."""


def feed(
    description: Description, images: Sequence[Image], sizes: Sequence[Size], options: RunOptions
) -> Feed:
    """The inputs of this project's exports."""
    rule = description.reading.preparation
    pixels = rule.batch(images, sizes, rule.padded_size(sizes[0]))
    return {
        "images": np.ascontiguousarray(pixels.transpose(0, 3, 1, 2)),
        "sizes": np.array(sizes, np.int64),
        "score_threshold": np.array(options.score_threshold, np.float32),
        "limit": np.array([options.limit], np.int64),
        "with_masks": np.array([options.masks]),
    }

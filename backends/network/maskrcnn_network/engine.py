"""Sessions: networks that an engine has loaded to turn images into numbers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol, TypeAlias, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from maskrcnn_network.preparation import Floats
from maskrcnn_server.backend import Image
from maskrcnn_server.rle import Size

Integers: TypeAlias = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """Options of a run."""

    score_threshold: float
    """Minimum score of a detection."""
    limit: int
    """Maximum number of detections of each image."""
    masks: bool = True
    proposals: bool = False
    """Whether `Output.proposals` is wanted."""


class RankedBoxes(NamedTuple):
    """The proposals of a batch, in network coordinates."""

    boxes: Floats
    """(P, 4)."""
    scores: Floats
    """(P,)."""
    images: Integers
    """(P,): index of the image in the batch."""
    class_scores: Floats
    """(P, 1 + classes), background first."""


class Output(NamedTuple):
    """The detections of a batch, in network coordinates: image after image, best first in each."""

    boxes: Floats
    """(D, 4)."""
    scores: Floats
    """(D,)."""
    labels: Integers
    """(D,), from 1."""
    images: Integers
    """(D,): index of the image in the batch."""
    masks: Floats | None = None
    """(D, m, m) probabilities, if requested."""
    proposals: RankedBoxes | None = None


def joined(outputs: Sequence[Output]) -> Output:
    """Join the outputs of the parts of a batch."""
    masks = [output.masks for output in outputs if output.masks is not None]
    proposals = [output.proposals for output in outputs if output.proposals is not None]
    return Output(
        boxes=np.concatenate([output.boxes for output in outputs]),
        scores=np.concatenate([output.scores for output in outputs]),
        labels=np.concatenate([output.labels for output in outputs]),
        images=np.concatenate([output.images for output in outputs]),
        masks=np.concatenate(masks) if masks else None,
        proposals=RankedBoxes(*map(np.concatenate, zip(*proposals, strict=True)))
        if proposals
        else None,
    )


class Session(Protocol):
    """A network with its weights, ready to run. One thread at a time uses it."""

    @property
    def facts(self) -> Mapping[str, str]:
        """Facts for operators about how it computes, such as its device and library."""

    def run(self, images: Sequence[Image], sizes: Sequence[Size], options: RunOptions, /) -> Output:
        """Detect objects in images, after resizing them to `sizes`. Padded sizes are equal."""

    def close(self) -> None:
        """Free all resources. May be called twice."""


@runtime_checkable
class RunsBatches(Protocol):
    """Ability of a session to compute several images faster together than alone."""

    @property
    def batch_pixels(self) -> int:
        """Number of input pixels in one call up to which adding images pays off."""

    @property
    def max_batch(self) -> int:
        """Maximum number of images in one call."""


class Intermediate(NamedTuple):
    """Intermediate results and output for one image."""

    features: tuple[Floats, ...]
    """Feature maps, each (height, width, channels)."""
    output: Output


@runtime_checkable
class ShowsStages(Protocol):
    """Ability of a session to show intermediate results."""

    def stages(self, image: Image, size: Size, options: RunOptions, /) -> Intermediate:
        """Everything `run` computes for an image, including proposals."""

    def masks_of(self, features: Sequence[Floats], boxes: Floats, labels: Integers, /) -> Floats:
        """Mask probabilities (N, m, m) of any boxes (N, 4) on `Intermediate.features`."""


@runtime_checkable
class TimesParts(Protocol):
    """Ability of a session to time the parts of the network."""

    def seconds(self, image: Image, size: Size, options: RunOptions, /) -> Mapping[str, float]:
        """Seconds of `backbone`, `rpn`, `heads` and `masks`, in this order."""


@runtime_checkable
class Observes(Protocol):
    """Ability of a session to observe the inputs of layers, from which int8 gets its scales."""

    def ranges(
        self, image: Image, size: Size, layers: Sequence[str], /
    ) -> Mapping[str, tuple[float, float]]:
        """Minimum and maximum of each layer's input for an image."""

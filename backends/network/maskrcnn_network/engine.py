"""What an engine makes of a network: a session that turns images into numbers."""

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
class Ask:
    """What is asked of images."""

    score_threshold: float
    """Least score of a detection."""
    limit: int
    """Number of detections of each image at most."""
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
    """(D, m, m) probabilities, if asked for."""
    proposals: RankedBoxes | None = None


def joined(outputs: Sequence[Output]) -> Output:
    """Those of parts of a batch as that of the batch."""
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
        """What operators should know of how it computes, such as its device and library."""

    def run(self, images: Sequence[Image], sizes: Sequence[Size], ask: Ask, /) -> Output:
        """Detections in images, resized to `sizes`, whose padded sizes are equal."""

    def close(self) -> None:
        """Free what the session holds. May be called twice."""


@runtime_checkable
class RunsBatches(Protocol):
    """Ability of a session to compute several images faster together than alone."""

    @property
    def batch_pixels(self) -> int:
        """Pixels of the network's input, in one call, up to which more images pay."""

    @property
    def max_batch(self) -> int:
        """Number of images in one call at most."""


class Intermediate(NamedTuple):
    """What a session computes of one image on the way to its output."""

    features: tuple[Floats, ...]
    """Feature maps, each (height, width, channels)."""
    output: Output


@runtime_checkable
class ShowsStages(Protocol):
    """Ability of a session to show what it computes on its way."""

    def stages(self, image: Image, size: Size, ask: Ask, /) -> Intermediate:
        """What `run` computes of an image, with proposals."""

    def masks_of(self, features: Sequence[Floats], boxes: Floats, labels: Integers, /) -> Floats:
        """Mask probabilities (N, m, m) of any boxes (N, 4) on `Intermediate.features`."""


@runtime_checkable
class TimesParts(Protocol):
    """Ability of a session to say what the parts of the network take."""

    def seconds(self, image: Image, size: Size, ask: Ask, /) -> Mapping[str, float]:
        """Seconds of `backbone`, `rpn`, `heads` and `masks`, in the order of their work."""


@runtime_checkable
class Observes(Protocol):
    """Ability of a session to watch what goes into the layers, from which int8 gets its scales."""

    def ranges(
        self, image: Image, size: Size, layers: Sequence[str], /
    ) -> Mapping[str, tuple[float, float]]:
        """The least and largest number that goes into each layer for an image."""

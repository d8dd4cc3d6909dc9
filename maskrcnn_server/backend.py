"""Interface of backends, which load the models of a framework, and of models."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol, TypeAlias, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from maskrcnn_server.errors import BackendCrashed

if TYPE_CHECKING:
    from maskrcnn_server.categories import Category
    from maskrcnn_server.detections import Detections
    from maskrcnn_server.rle import Size

Image: TypeAlias = NDArray[np.uint8]
"""Pixels uint8 (height, width, 3): RGB, C-contiguous, upright, at least 1 x 1."""


@dataclass(frozen=True, kw_only=True)
class PredictOptions:
    """Options of a prediction, complete: defaults are filled in before."""

    score_threshold: float = 0.5
    """Least score (0 to 1) of the detections that are kept."""
    mask_threshold: float = 0.5
    """Least probability (more than 0, to 1) of the pixels that belong to a mask."""
    max_detections: int = 100
    """Number of detections that are kept at most, the best. May be more than the model gives."""
    masks: bool = True
    """False: boxes only."""
    proposals: bool = False
    """True: also the regions the network looked at, from models that have them."""


@dataclass(frozen=True, kw_only=True)
class ModelMetadata:
    """Description of a model."""

    name: str
    backend: str
    categories: tuple[Category, ...]
    """Categories that the model detects; `Detections` uses their ids."""
    score_threshold: float
    """Default of `PredictOptions.score_threshold`."""
    max_detections: int = 100
    """Default of `PredictOptions.max_detections`: as many as the model gives."""
    has_masks: bool = True
    facts: Mapping[str, str] = field(default_factory=dict)
    """Further facts for the operator, such as architecture and training step."""


Isolation: TypeAlias = Literal["none", "process"]
"""Place where a model computes: the server's process, or a process of its own."""


Precision: TypeAlias = Literal["float32", "tf32", "float16", "bfloat16", "int8"]
"""Number format of most of the computation."""


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """A model to load, and how to load it."""

    model_dir: Path
    resnet_arch: str | None = None
    """Architecture that the operator expects, such as `resnet50`; checked, never trusted."""
    overrides: Mapping[str, str] = field(default_factory=dict)
    """Overrides of the framework's configuration: dotted key to YAML literal, from `CONFIG__A__B`.
    """
    options: Mapping[str, str] = field(default_factory=dict)
    """Options of the backend: `variant` to `tf1`, from `AWS_SAMPLES_VARIANT=tf1`."""
    score_threshold: float | None = None
    """The operator's default score threshold. None: the backend's."""
    engine: str = "auto"
    """Name of the engine that computes, `original` for the framework's own code, or `auto`."""
    device: str = "auto"
    """Device that computes: `cpu`, `cuda`, `cuda:N`, or `auto`."""
    original: Path | None = None
    """Folder of the framework's own code, for engine `original`. None: as the backend's option
    says."""
    precision: Precision = "float32"
    """Number format. A backend refuses one that it does not have, and lists one that it has among
    the facts."""
    dedicated: bool = False
    """Whether this process uses the framework for models only, so that it may be configured for
    that."""
    threads: int | None = None
    """Number of CPU threads that compute. None: one per available CPU."""
    streams: int | None = None
    """Number of images that a CPU computes at the same time. None: the engine's choice."""


@dataclass(frozen=True, kw_only=True)
class Probe:
    """Findings of a backend in a model folder, without loading the model."""

    facts: Mapping[str, str]
    """Facts about the model, in display order."""
    problems: Sequence[str] = ()
    """Reasons why `load` would fail: what is wrong, where, and what would be right."""
    notes: Sequence[str] = ()
    """Remarks about what `load` accepts, such as assumed defaults."""
    files: Sequence[Path] = ()
    """Files that `load` reads, for copying the model. Empty: the whole folder."""


Exporter: TypeAlias = Callable[["ModelConfig", Path], None]
"""Function that writes the model of a configuration to a path. Raises InvalidModel as `load` does.
"""


class Model(Protocol):
    """A model in memory, ready to predict."""

    @property
    def metadata(self) -> ModelMetadata: ...

    def predict(self, images: Sequence[Image], options: PredictOptions, /) -> list[Detections]:
        """Detections of each image, in the same order, equal to those of the image alone.

        Called from any thread, by one at a time. Does not change the images.
        """

    def close(self) -> None:
        """Free the resources of the model. May be called twice; `predict` is not called after."""


class Backend(Protocol):
    """Loader of the models of a framework. Importing and constructing it imports no framework."""

    @property
    def name(self) -> str:
        """Value of `MASKRCNN_BACKEND` that selects it: lower-case letters, digits and _."""

    def probe(self, config: ModelConfig, /) -> Probe | None:
        """Findings in the model folder, and whether the model would load as `config` says.

        None if the folder holds nothing for this backend. Fast (at most a second), without the
        framework and without side effects.
        """

    def load(self, config: ModelConfig, /) -> Model:
        """Load the model. Raises InvalidModel or InvalidSetting with all that is wrong."""


@runtime_checkable
class ChecksWeights(Protocol):
    """Optional ability of a backend: to read the weights without loading the model."""

    def check_weights(self, config: ModelConfig, /) -> None:
        """Read every weight that `load` would. Raises InvalidModel with what `load` would say."""


@runtime_checkable
class DescribesFiles(Protocol):
    """Optional ability of a backend: to recognise files that it cannot load itself."""

    def describe_files(self, folder: Path, asked: Collection[str], /) -> list[str]:
        """What the files of models in a folder are and what to do, a line each.

        `asked` names the backends that do not accept the folder.
        """


@runtime_checkable
class Batches(Protocol):
    """Optional ability of a model: to tell which images it computes best together."""

    @property
    def batch_pixels(self) -> int:
        """Number of pixels of the network's input up to which more images in one call pay."""

    def network_shape(self, size: Size, /) -> Size:
        """(height, width) of the network's input for an image of this size, padding included.

        Images with equal shapes are computed together; no result changes.
        """


class ModelLost(BackendCrashed):
    """The process of a model that `Restarts` ended during `predict`, and nothing suggests that the
    request was the reason: it may run once more."""


@runtime_checkable
class Restarts(Protocol):
    """Optional ability of a model: to restart when its process ends."""

    @property
    def restarts(self) -> int:
        """Number of restarts."""

    def is_up(self) -> bool:
        """Whether `predict` would compute now. False: soon.

        Raises ModelFailed if requests should not wait for it.
        """

    def tell(self, changed: Callable[[], None]) -> None:
        """Set a function to call, from another thread, when `is_up` changes."""


@runtime_checkable
class Profiles(Protocol):
    """Optional ability of a model: to time the parts of its network."""

    def profile(self, image: Image, options: PredictOptions, /) -> Mapping[str, float]:
        """Seconds of each part, such as `backbone`, `rpn`, `heads`, in order of execution.

        Each part is waited for, so the sum may exceed the time of `predict`. Called as `predict`
        is.
        """


@runtime_checkable
class Exports(Protocol):
    """Optional ability of a backend: to write its models for other programs."""

    def exporters(self) -> Mapping[str, Exporter]:
        """Exporters by format, such as `saved_model`."""


@runtime_checkable
class Converts(Protocol):
    """Optional ability of a backend: to write its models as other files that it can load."""

    def converters(self) -> Mapping[str, Exporter]:
        """Converters by format, such as `npz16`. Each writes a whole model folder, including
        relevant files next to the weights, without settings from the environment."""


@dataclass(frozen=True)
class LayerChange:
    """Effect of 8-bit integers in one part of a network."""

    name: str
    share: float
    """Share of the detections, weighted by score, that changes; 0: no change."""
    kept: bool = False
    """Whether the part stays in floating point because of it."""


@runtime_checkable
class Quantizes(Backend, Protocol):
    """Optional ability of a backend: to write its models in 8-bit integers."""

    def quantize(
        self,
        config: ModelConfig,
        samples: Sequence[Image],
        target: Path,
        max_change: float | None,
        report: Callable[[LayerChange], None],
        /,
    ) -> None:
        """Write the model of a configuration, calibrated on `samples`, to a path.

        Reports the effect of each part in turn; parts that change more than `max_change` by
        themselves stay in floating point. None: nothing is measured, and every possible part is
        quantised. Raises InvalidModel as `load` does.
        """


@runtime_checkable
class Calibrates(Backend, Protocol):
    """Optional ability of a backend: to prepare its models for `precision="int8"`."""

    def calibrate(
        self,
        config: ModelConfig,
        samples: Sequence[Image],
        max_change: float | None,
        report: Callable[[LayerChange], None],
        /,
    ) -> Path:
        """Write the calibration file for int8, made from `samples`, into the model folder; return
        its path.

        Reports effects and keeps parts in float32 as `Quantizes.quantize` does. Raises InvalidModel
        as `load` does, InvalidSetting if no engine computes in int8.
        """


@dataclass(frozen=True, kw_only=True)
class ZooModel:
    """A published model that a backend can load."""

    name: str
    """Name by which it is requested: backend, colon, model: `tensorpack:R50FPN2x`."""
    base_url: str
    """Address where it is published; the operator may set another."""
    file: str
    """Path below the address: an archive or `.npz`."""
    box_ap: float
    """COCO's box AP (IoU 0.50 to 0.95, val2017), in percent, as published."""
    mask_ap: float | None
    description: str


@dataclass(frozen=True, kw_only=True)
class Demo:
    """A model that a plugin bundles for trying out."""

    name: str
    backend: str
    model_dir: Path
    images: Sequence[Path]
    """Images on which it does well; at least one."""

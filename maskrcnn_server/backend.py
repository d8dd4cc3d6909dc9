"""What a backend is: a framework that can load models, and the models it loads."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol, TypeAlias, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from maskrcnn_server.categories import Category
from maskrcnn_server.detections import Detections
from maskrcnn_server.errors import BackendCrashed
from maskrcnn_server.rle import Size

Image: TypeAlias = NDArray[np.uint8]
"""Pixels uint8 (height, width, 3): RGB, C-contiguous, upright, at least 1 x 1."""


@dataclass(frozen=True, kw_only=True)
class PredictOptions:
    """What a request asks of a prediction, complete: defaults are filled in before."""

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
    """What a model says of itself."""

    name: str
    backend: str
    categories: tuple[Category, ...]
    """The categories it detects; their ids are the ones in `Detections`."""
    score_threshold: float
    """Default of `PredictOptions.score_threshold`."""
    max_detections: int = 100
    """Default of `PredictOptions.max_detections`: as many as the model gives."""
    has_masks: bool = True
    facts: Mapping[str, str] = field(default_factory=dict)
    """Anything else worth showing to the operator, such as architecture and training step."""


Isolation: TypeAlias = Literal["none", "process"]
"""Where it computes: in the server's process, or in one of its own."""


Precision: TypeAlias = Literal["float32", "tf32", "float16", "bfloat16", "int8"]
"""The numbers that most of a network is computed in."""


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """What to load, and how the operator wants it set up."""

    model_dir: Path
    resnet_arch: str | None = None
    """The architecture that the operator expects, such as `resnet50`; checked, never trusted."""
    overrides: Mapping[str, str] = field(default_factory=dict)
    """The framework's own configuration: dotted key to YAML literal, from `CONFIG__A__B`."""
    options: Mapping[str, str] = field(default_factory=dict)
    """The backend's own options: `variant` to `tf1`, from `AWS_SAMPLES_VARIANT=tf1`."""
    score_threshold: float | None = None
    """The operator's default score threshold. None: the backend's."""
    engine: str = "auto"
    """Name of the engine that computes, `original` for the framework's own code, or `auto`."""
    device: str = "auto"
    """Device that computes: `cpu`, `cuda`, `cuda:N`, or `auto`."""
    original: Path | None = None
    """Where the framework's own code is, for engine `original`. None: the backend's option says."""
    precision: Precision = "float32"
    """A backend that has no other refuses another; one that has it says so among the facts."""
    dedicated: bool = False
    """Whether this process runs models and does nothing else with their framework, which may be set
    up for that alone."""
    threads: int | None = None
    """Number of CPU threads that compute. None: one for each CPU of this process."""
    streams: int | None = None
    """Number of images that a CPU computes side by side. None: the engine's choice."""


@dataclass(frozen=True, kw_only=True)
class Probe:
    """What a backend found in a model folder, without loading it."""

    facts: Mapping[str, str]
    """What is there, in the order to show it."""
    problems: Sequence[str] = ()
    """Why `load` would fail: what is wrong, where, and what would be right."""
    notes: Sequence[str] = ()
    """What `load` would accept but the operator should know, such as assumed defaults."""
    files: Sequence[Path] = ()
    """What `load` reads, for who copies the model elsewhere. None named: the whole folder."""


Exporter: TypeAlias = Callable[["ModelConfig", Path], None]
"""Writes the model that a configuration names to a path. Raises InvalidModel as `load` does."""


class Model(Protocol):
    """A model in memory. One that exists can predict."""

    @property
    def metadata(self) -> ModelMetadata: ...

    def predict(self, images: Sequence[Image], options: PredictOptions, /) -> list[Detections]:
        """Detections of each image, in the order given, the same as if it came alone.

        May be called from any thread, by one at a time. Leaves the images as they are.
        """

    def close(self) -> None:
        """Free what the model holds. May be called twice; `predict` is not called after it."""


class Backend(Protocol):
    """A framework that can load models. Importing and making one imports no framework."""

    @property
    def name(self) -> str:
        """What `MASKRCNN_BACKEND` selects it by: lower-case letters, digits and underscores."""

    def probe(self, config: ModelConfig, /) -> Probe | None:
        """What is in the model folder, and whether it would load as `config` says.

        None if nothing is there that this backend knows of.

        Quick (a second at most), without the framework, and without side effects.
        """

    def load(self, config: ModelConfig, /) -> Model:
        """Load the model, or raise `InvalidModel` or `InvalidSetting` with everything wrong."""


@runtime_checkable
class Batches(Protocol):
    """What a model may do beside: say which images it computes best together."""

    @property
    def batch_pixels(self) -> int:
        """Of the network's input, in one call, up to which more images make the call pay better."""

    def network_shape(self, size: Size, /) -> Size:
        """(height, width) of the network's input for an image of this size, padding included.

        Images of one shape are computed together without a change of any answer.
        """


class ModelLost(BackendCrashed):
    """What `predict` of a model that `Restarts` raises when its process ended, and nothing says
    that the request was to blame: it may be computed once more."""


@runtime_checkable
class Restarts(Protocol):
    """What a model may do beside: lose what it runs in, and get it back."""

    @property
    def restarts(self) -> int:
        """How often that has happened."""

    def is_up(self) -> bool:
        """Whether `predict` would compute now. False: it will soon.

        Raises ModelFailed if nobody should wait for that.
        """

    def tell(self, changed: Callable[[], None]) -> None:
        """Call this, from a thread of its own, when `is_up` answers otherwise."""


@runtime_checkable
class Profiles(Protocol):
    """What a model may do beside: say what the parts of its network take."""

    def profile(self, image: Image, options: PredictOptions, /) -> Mapping[str, float]:
        """Seconds of each part, such as `backbone`, `rpn`, `heads`, in the order of their work.

        Each is waited for; together they may take more than in `predict`. Called as `predict` is.
        """


@runtime_checkable
class Exports(Protocol):
    """What a backend may do beside: write its models for other programs to load."""

    def exporters(self) -> Mapping[str, Exporter]:
        """By the name of a format, such as `saved_model`."""


@runtime_checkable
class Converts(Protocol):
    """What a backend may do beside: write its models as other files that it loads again."""

    def converters(self) -> Mapping[str, Exporter]:
        """By the name of a format, such as `npz16`: each writes a whole model folder, with whatever
        stands beside the weights and matters. What the environment says is left out of it."""


@dataclass(frozen=True)
class LayerChange:
    """What 8-bit integers in one part of a network change."""

    name: str
    share: float
    """Of what is found, by score: 0 if nothing changes."""
    kept: bool = False
    """Whether it stays in floating point for that."""


@runtime_checkable
class Quantizes(Backend, Protocol):
    """A backend that can write its models in 8-bit integers."""

    def quantize(
        self,
        config: ModelConfig,
        samples: Sequence[Image],
        target: Path,
        most_change: float | None,
        report: Callable[[LayerChange], None],
        /,
    ) -> None:
        """Write the model that a configuration names, calibrated on `samples`, to a path.

        Reports what each part changes, one after the other; those that alone change more than
        `most_change` stay as they are. None: nothing is measured, all that can be is quantised.
        Raises InvalidModel as `load` does.
        """


@runtime_checkable
class Calibrates(Backend, Protocol):
    """Ability of a backend to prepare its models for `precision="int8"`."""

    def calibrate(
        self,
        config: ModelConfig,
        samples: Sequence[Image],
        most_change: float | None,
        report: Callable[[LayerChange], None],
        /,
    ) -> Path:
        """Write what int8 has to know into the model folder: the file, made of `samples`.

        Reports and keeps parts in float32 as `Quantizes.quantize` does. Raises InvalidModel as
        `load` does, InvalidSetting if no engine computes in int8.
        """


@dataclass(frozen=True, kw_only=True)
class ZooModel:
    """A published model that a backend can load."""

    name: str
    """As it is asked for: the backend's name, a colon, the model's: `tensorpack:R50FPN2x`."""
    base_url: str
    """Where it is published; the operator may name another place."""
    file: str
    """Path below the address: an archive or `.npz`."""
    box_ap: float
    """COCO's box AP (IoU 0.50 to 0.95, val2017), in percent, as published."""
    mask_ap: float | None
    description: str


@dataclass(frozen=True, kw_only=True)
class Demo:
    """A model that a plugin brings along, for people to try."""

    name: str
    backend: str
    model_dir: Path
    images: Sequence[Path]
    """Pictures it does well on, at least one."""

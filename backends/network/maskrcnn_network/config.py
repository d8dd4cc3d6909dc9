"""Configuration of a network: what its weights do not show."""

import difflib
import math
from collections.abc import Callable, Collection, Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
)
from typing_extensions import Self

from maskrcnn_network.anchor_lists import AboveZero, LevelSizes
from maskrcnn_network.architecture import Architecture
from maskrcnn_network.preparation import Paste, Preparation, Triple
from maskrcnn_server import yaml_file
from maskrcnn_server.categories import Category, coco
from maskrcnn_server.errors import InvalidSetting
from maskrcnn_server.keys import Keys, meant, near, unknown

Fraction = Annotated[float, Field(ge=0, le=1)]
MAX_COUNT = 1_000_000
"""Maximum of a number of proposals or detections, and of the long edge in pixels."""
MAX_SIDE = 16_384
"""Maximum short edge of resized images in pixels."""
Positive = Annotated[int, Field(gt=0, le=MAX_COUNT)]
Side = Annotated[int, Field(gt=0, le=MAX_SIDE)]
Length = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Number = Annotated[float, Field(allow_inf_nan=False)]
Means = tuple[Number, Number, Number]
Deviations = tuple[AboveZero, AboveZero, AboveZero]
Weights = tuple[AboveZero, AboveZero, AboveZero, AboveZero]
Pads = tuple[int, int]


def only(*computed: object) -> AfterValidator:
    """A validator of sequences that admits only this one."""

    def check(given: tuple[object, ...]) -> tuple[object, ...]:
        if given != computed:
            raise ValueError(f"only {list(computed)} is computed")
        return given

    return AfterValidator(check)


class NetworkConfig(BaseModel):
    """Constants of inference, with TensorPack's defaults."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    fields_by_key: ClassVar[Mapping[str, str]] = {}
    """Field of each configurable key of the framework."""
    without_effect: ClassVar[frozenset[str]] = frozenset()
    """Keys of the framework that only matter for training or for other kinds of network."""
    rounding: ClassVar[float] = 0.5
    """Number added to a resized side's length before it is truncated."""
    resampling: ClassVar[Literal["opencv", "pillow", "float"]] = "opencv"
    one_scale: ClassVar[bool] = True
    """Whether boxes are scaled back by the mean of both axes' scales. If not, by each axis' own."""
    coco_layouts: ClassVar[Mapping[int, Callable[[], tuple[Category, ...]]]] = {80: coco}
    """Categories assumed for networks without class names, by number of classes."""
    sections_without_effect: ClassVar[tuple[str, ...]] = ()
    """Prefixes of further keys without effect."""
    open_sections: ClassVar[tuple[str, ...]] = ()
    """Prefixes of sections to which projects add keys of their own."""
    former_keys: ClassVar[Mapping[str, str]] = {}
    """Keys of today, by former or shorter names of them."""
    read_yaml: ClassVar[Callable[[Path], Any]] = staticmethod(yaml_file.read)
    """Reader of `config.yaml`. Raises NotYaml, OSError or InvalidModel."""
    paste: ClassVar[Paste] = "box"
    symmetric: ClassVar[bool] = False
    """Whether convolutions and the first pooling are padded equally on all sides."""
    min_detection_side: ClassVar[float] = 0
    """Minimum side of a detection, in pixels of the resized image; smaller ones are dropped."""

    short_edge: Side | None = 800
    """Short edge of the resized image in pixels. None: images are not resized."""
    max_size: Positive = 1333
    """Maximum long edge of the resized image in pixels, before rounding: see `long_edge`."""
    pixel_mean: Means = (123.675, 116.28, 103.53)
    """Mean of each channel (0 to 255) in the framework's own order: see `rgb_mean`."""
    pixel_std: Deviations = (58.395, 57.12, 57.375)
    channels: Literal["RGB", "BGR"] = "BGR"
    """Order of the network's input channels."""
    norm_epsilon: Length = 1e-5
    """Epsilon of batch normalisation."""
    anchor_sizes: LevelSizes = (32, 64, 128, 256, 512)
    anchor_ratios: tuple[AboveZero, ...] = (0.5, 1.0, 2.0)
    anchor_strides: tuple[Literal[4], Literal[8], Literal[16], Literal[32], Literal[64]] = (
        4,
        8,
        16,
        32,
        64,
    )
    proposals: Positive = 1000
    """Number of proposals of each level before and after suppression, and of all levels."""
    proposal_nms_threshold: Fraction = 0.7
    box_regression_weights: Weights = (10.0, 10.0, 5.0, 5.0)
    cascade_regression_weights: tuple[Weights, Weights, Weights] = (
        (10.0, 10.0, 5.0, 5.0),
        (20.0, 20.0, 10.0, 10.0),
        (30.0, 30.0, 15.0, 15.0),
    )
    min_size: Length = 0
    """Minimum width and height of a proposal, in the framework's own unit."""
    tf_pad_mode: bool = False
    """Whether the bottom and right are padded first, as TensorFlow does."""
    stride_1x1: bool = False
    """Whether blocks stride in their first convolution, as in models by MSRA."""
    dilation: Literal[1, 2] = 1
    """Dilation of the last ResNet group. 2: it is dilated instead of strided."""
    detection_nms_threshold: Fraction = 0.5
    agnostic_nms_threshold: Fraction | None = None
    """Maximum overlap of detections of any classes, among the best `detections` of which those of
    the same class are suppressed already. None: only those of the same class are compared."""
    detections: Positive = 100
    score_floor: Fraction = 0.05
    """Minimum of the default score threshold. A request may ask for less."""
    score_threshold: Fraction | None = None
    """Default score threshold. None: the framework's own."""
    class_names: tuple[str, ...] | None = None
    """Names of the classes, with or without the background in front."""

    blocks: tuple[int, int, int, int] | None = None
    """Blocks of each ResNet group. This and the fields below are only checked against the weights.
    """
    pyramid: int | None = None
    fc: int | None = None
    mask: int | None = None
    classes: int | None = None
    has_masks: bool | None = None
    mode_fpn: bool | None = None
    cascade: bool | None = None

    @classmethod
    def keys(cls) -> frozenset[str]:
        """Every key of the framework's configuration."""
        return cls.without_effect | cls.fields_by_key.keys()

    @classmethod
    def declared(
        cls, options: Collection[str], options_without_effect: Collection[str] = ()
    ) -> Keys:
        """The keys of the framework, with the options of its backend."""
        return Keys(
            config=cls.fields_by_key.keys() | cls.former_keys.keys(),
            without_effect=cls.without_effect,
            sections_without_effect=cls.sections_without_effect,
            options=options,
            options_without_effect=options_without_effect,
        )

    @classmethod
    def is_foreign(cls, key: str) -> bool:
        """Whether a key is one of a project's own, such as `MY_PROJECT.LR`.

        That is in a section that the framework does not have, or in one of `open_sections`. A name
        that is close to one of the framework's is taken for a mistake.
        """
        prefixes = cls.sections_without_effect
        known_keys = cls.keys()
        if key in known_keys or key.startswith(prefixes):
            return False
        sections = {part for known in known_keys.union(prefixes) for part in _sections(known)}
        new = next((section for section in _sections(key) if section not in sections), None)
        if "." not in key:
            is_flat = sum("." in known for known in known_keys) < len(known_keys) / 2
            near = _is_near(key, sections | known_keys) or cls.nearest(key) is not None
            return not (is_flat or near)
        if new is None:
            return key.startswith(cls.open_sections) and not _is_near(key, known_keys)
        return not _is_near(new, sections)

    @classmethod
    def nearest(cls, key: str) -> str | None:
        """The framework's key that a key in lower case or without its sections may stand for."""
        return meant(key, {*cls.keys(), "class_names"})

    @classmethod
    def from_values(cls, values: Mapping[str, Any], source: str) -> Self:
        """A configuration from dotted keys and their values, which came from `source`.

        Raises InvalidSetting for the first key that does not exist or has an invalid value.
        """
        known = cls.keys()
        for key in values:
            if key not in known and not key.startswith(cls.sections_without_effect):
                raise unknown(source, f"key: {key}", near(key, known))
        fields = {cls.fields_by_key[k]: v for k, v in values.items() if k in cls.fields_by_key}
        # Names that were not there yet when the configuration was written.
        if fields.get("class_names") in ([], ()):
            del fields["class_names"]
        try:
            return cls.model_validate(fields)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            key = cls.key(str(first["loc"][0]))
            said = first["msg"].removeprefix("Value error, ")
            raise InvalidSetting(f"{source}: {key}={first['input']!r}: {said}") from None

    @classmethod
    def key(cls, field: str) -> str:
        """The framework's name of a field."""
        return next((key for key, own in cls.fields_by_key.items() if own == field), field)

    @property
    def rgb_mean(self) -> Triple:
        """Mean subtracted from RGB pixels."""
        return self.pixel_mean

    @property
    def rgb_std(self) -> Triple:
        """Divisor of RGB pixels."""
        return self.pixel_std

    @property
    def long_edge(self) -> int:
        """`max_size` as `finalize_configs` rounds it for a pyramid: up to a multiple of 32."""
        return math.ceil(self.max_size / self.stride) * self.stride

    @property
    def stride(self) -> int:
        """Divisor of padded heights and widths: a pyramid needs 32, C4 takes any size."""
        return 1 if self.mode_fpn is False else 32

    @property
    def stem_pads(self) -> Pads:
        """Zeros on the top and left, and on the bottom and right, before the first layer."""
        return self._sides(3, 2)

    @property
    def pool_pads(self) -> Pads:
        """Zeros on the top and left, and on the bottom and right, before the first pooling."""
        return self._sides(1, 0)

    @property
    def block_pads(self) -> Pads:
        """Zeros on the top and left, and on the bottom and right, where a 3 x 3 convolution of a
        block strides."""
        return self._sides(1, 0)

    def _sides(self, before: int, after: int) -> Pads:
        """Zeros on the top and left (`before`), and on the bottom and right (`after`).

        Pixel (0, 0) of each feature map is then centred on pixel (0, 0) of the image. Networks with
        `TF_PAD_MODE` swap both; others pad equally on all sides, which only maps with odd sides
        show.
        """
        if self.symmetric:
            return before, before
        return (after, before) if self.tf_pad_mode else (before, after)

    @property
    def level_sizes(self) -> tuple[tuple[float, ...], ...]:
        """Sizes of the anchors of each level of a pyramid."""
        levels = tuple(own if isinstance(own, tuple) else (own,) for own in self.anchor_sizes)
        return levels * len(self.anchor_strides) if len(levels) == 1 else levels

    @property
    def cell_sizes(self) -> tuple[float, ...]:
        """Sizes of the anchors of a network with a single feature map."""
        levels = self.level_sizes
        is_flat = not isinstance(self.anchor_sizes[0], tuple)
        return tuple(own[0] for own in levels) if is_flat else levels[0]

    @property
    def height_ratios(self) -> tuple[float, ...]:
        """Height by width of the anchors."""
        return self.anchor_ratios

    @property
    def regression_weights(self) -> tuple[Weights, ...]:
        """Divisors of the box regressions of each box head."""
        return self.cascade_regression_weights if self.cascade else (self.box_regression_weights,)

    @property
    def delta_clip(self) -> float:
        """Maximum dw and dh of a box regression (natural logarithm)."""
        return math.log(self.long_edge / 16)

    @property
    def preparation(self) -> Preparation:
        """How images are prepared. The first layer divides them by the standard deviation."""
        resized = self.short_edge is not None
        return Preparation(
            short_edge=self.short_edge,
            long_edge=self.long_edge if resized else math.inf,
            rounding=self.rounding,
            resampling=self.resampling,
            mean=self.rgb_mean,
            multiple_of=self.stride,
            # From smaller images, C4 makes a map without a pixel.
            min_padded=max(self.stride, 16),
            one_scale=self.one_scale,
        )

    def settled(self, architecture: Architecture) -> Self:
        """A copy with the body and heads of the weights, on which other properties depend."""
        return self.model_copy(
            update={
                "mode_fpn": architecture.pyramid is not None,
                "cascade": architecture.cascade,
            }
        )

    def contradictions(self, architecture: Architecture) -> list[str]:
        """Contradictions between this configuration and the weights, in words."""
        return [
            f"{self.key(field)} is configured as {ours}, but the weights have {theirs}"
            for field, (ours, theirs) in self._checkable(architecture).items()
            if ours is not None and ours != theirs
        ]

    def _checkable(self, architecture: Architecture) -> dict[str, tuple[object, object]]:
        """Configured and actual value of each field that the weights show too."""
        values: dict[str, tuple[object, object]] = {
            "mode_fpn": (self.mode_fpn, architecture.pyramid is not None),
            "has_masks": (self.has_masks, architecture.has_masks),
            "blocks": (self.blocks, architecture.blocks),
            "classes": (self.classes, architecture.classes),
        }
        if architecture.has_masks:
            values["mask"] = (self.mask, architecture.mask)
        if architecture.pyramid is None:
            anchors = len(self.cell_sizes) * len(self.anchor_ratios)
            values["anchor_ratios"] = (anchors, architecture.anchors)
        else:
            anchors = len(self.level_sizes[0]) * len(self.anchor_ratios)
            values |= {
                "anchor_ratios": (anchors, architecture.anchors),
                "cascade": (self.cascade, architecture.cascade),
                "pyramid": (self.pyramid, architecture.pyramid),
                "fc": (self.fc, architecture.fc[0][1]),
            }
            levels = self.level_sizes if len(self.anchor_sizes) > 1 else ()
            values["anchor_sizes"] = (len(levels) or None, architecture.levels)
        return values


def _sections(key: str) -> list[str]:
    """The sections around a key: `A` and `A.B` of `A.B.C`."""
    parts = key.split(".")
    return [".".join(parts[:i]) for i in range(1, len(parts))]


def _is_near(name: str, known: Iterable[str]) -> bool:
    """Whether a name is close to another one in the same section, in upper or lower case."""
    section, _, own = name.lower().rpartition(".")
    parts = (k.lower().rpartition(".") for k in known)
    siblings = [other for at, _, other in parts if at == section]
    return bool(difflib.get_close_matches(own, siblings, n=1, cutoff=0.75))

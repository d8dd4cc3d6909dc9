"""How a model is fed and read: what its file says of it, or `model.yaml` beside it."""

import math
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, model_validator
from typing_extensions import Self

from maskrcnn_network.model import Reading
from maskrcnn_network.preparation import Preparation
from maskrcnn_server import yaml_file
from maskrcnn_server.categories import Category, named
from maskrcnn_server.errors import InvalidModel
from maskrcnn_server.yaml_file import NotYaml

KEY = "maskrcnn_server"
"""Of the file's metadata: a `Description` as JSON."""
FILE = "model.yaml"

Fraction = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[int, Field(gt=0)]
Triple = tuple[float, float, float]
Name = Annotated[str, Field(min_length=1)]


class Part(BaseModel):
    """Frozen, and nothing else is allowed in it."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Preprocessing(Part):
    """From a photograph to the network's input."""

    short_edge: Positive | None = None
    """Pixels of the resized image's short edge; None: images go in as they are."""
    long_edge: Positive | None = None
    """Pixels of its long edge at most. None: no limit."""
    rounding: Annotated[float, Field(ge=0, lt=1)] = 0.5
    """What is added to a side's length before its fraction is cut off."""
    resampling: Literal["opencv", "pillow", "float"] = "opencv"
    """Bilinear: `opencv` of four pixels and `pillow` of all that one covers, both rounded to whole
    numbers; `float` of four, not rounded."""
    channels: Literal["RGB", "BGR"] = "RGB"
    mean: Triple = (0.0, 0.0, 0.0)
    """What is taken off pixels (0 to 255), in the order of `channels`."""
    std: tuple[
        Annotated[float, Field(gt=0)], Annotated[float, Field(gt=0)], Annotated[float, Field(gt=0)]
    ] = (1.0, 1.0, 1.0)
    """What the difference is divided by: 255, and no mean, for pixels from 0 to 1."""
    multiple_of: Positive = 1
    """Zeros are added on the right and bottom up to a multiple of this."""

    @model_validator(mode="after")
    def _has_a_short_edge(self) -> Self:
        if self.long_edge is not None and self.short_edge is None:
            raise ValueError("long_edge goes with short_edge")
        return self


class Outputs(Part):
    """What the model calls its outputs, where names and shapes do not show it."""

    boxes: Name | None = None
    """(D, 4) x1, y1, x2, y2, or (D, 5) with the score behind."""
    scores: Name | None = None
    labels: Name | None = None
    masks: Name | None = None


class Source(Part):
    """What a file was exported from."""

    backend: Name
    checkpoint: Name
    sha256: Name
    """Of the network's variables."""


class Description(Part):
    """Everything about a model that its graph does not say."""

    format: Literal[1] = 1
    name: Name | None = None
    classes: Annotated[tuple[Name, ...], Field(min_length=1)] | None = None
    """Without the background. None: COCO's."""
    dataset_ids: tuple[int, ...] | None = None
    """Of each class, its id in the data set's annotations. None: 1, 2, ..."""
    first_label: Literal[0, 1] = 1
    """The label of the first class."""
    score_threshold: Fraction = 0.5
    """Of requests that name none."""
    detections: Positive = 100
    """Of an image at most."""
    one_scale: bool = False
    """Whether boxes are scaled back by the mean of both axes' scales, or each axis by its own."""
    paste: Literal["box", "pixels"] = "box"
    """Whether masks lie in their boxes, or, as torchvision pastes them, on whole pixels."""
    preprocessing: Preprocessing = Preprocessing()
    outputs: Outputs = Outputs()
    architecture: Name | None = None
    """Such as `resnet50`."""
    source: Source | None = None
    facts: dict[str, str] = {}
    """Anything else worth showing to the operator."""

    @model_validator(mode="after")
    def _has_an_id_for_each_class(self) -> Self:
        if self.dataset_ids is not None and len(self.dataset_ids) != len(self.classes or ()):
            raise ValueError(
                f"{len(self.dataset_ids)} dataset_ids for {len(self.classes or ())} classes"
            )
        return self

    def over(self, default: "Description") -> "Description":
        """This, and `default` where this says nothing."""
        own = {name: getattr(self, name) for name in self.model_fields_set}
        if "classes" in own:
            own.setdefault("dataset_ids", None)
        return default.model_copy(update=own)

    @property
    def reading(self) -> Reading:
        """How images go in, and numbers come out."""
        given = self.preprocessing.model_dump(exclude={"long_edge"})
        long_edge = self.preprocessing.long_edge
        return Reading(
            preparation=Preparation(
                **given,
                long_edge=math.inf if long_edge is None else long_edge,
                one_scale=self.one_scale,
            ),
            paste=self.paste,
            detections=self.detections,
        )

    @property
    def categories(self) -> tuple[Category, ...] | None:
        """The categories, where classes are named."""
        if self.classes is None:
            return None
        if self.dataset_ids is None:
            return named(self.classes)
        return tuple(
            Category(i, name, dataset_id)
            for i, (name, dataset_id) in enumerate(
                zip(self.classes, self.dataset_ids, strict=True), start=1
            )
        )


def from_metadata(text: str, where: Path) -> Description:
    """What a file says of itself. Raises InvalidModel if that is no description."""
    try:
        return Description.model_validate_json(text)
    except ValidationError as error:
        raise InvalidModel(f"{where}: metadata {KEY}: {_first(error)}") from None


def from_file(path: Path) -> Description:
    """What `model.yaml` says. Raises InvalidModel if that is no description."""
    try:
        content = yaml_file.read(path)
    except NotYaml as error:
        raise InvalidModel(f"{path}: not YAML ({error})") from None
    try:
        return TypeAdapter(Description).validate_python({} if content is None else content)
    except ValidationError as error:
        raise InvalidModel(f"{path}: {_first(error)}") from None


def _first(error: ValidationError) -> str:
    first: Any = error.errors(include_url=False)[0]
    place = ".".join(map(str, first["loc"])) or "the description"
    return f"{place}: {first['msg']}"

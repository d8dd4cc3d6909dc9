"""Descriptions of models, from the metadata of their files or from `model.yaml` next to them."""

import math
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, model_validator
from typing_extensions import Self

from maskrcnn_network.centred import CentredPreparation
from maskrcnn_network.model import Reading
from maskrcnn_network.preparation import Preparation
from maskrcnn_server import yaml_file
from maskrcnn_server.categories import Category, named
from maskrcnn_server.errors import InvalidModel
from maskrcnn_server.yaml_file import NotYaml

KEY = "maskrcnn_server"
"""Key in the file's metadata of a `Description` as JSON."""
FILE = "model.yaml"

Fraction = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[int, Field(gt=0)]
Triple = tuple[float, float, float]
Name = Annotated[str, Field(min_length=1)]


class Part(BaseModel):
    """Base of parts of a description: frozen, without unknown fields."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Preprocessing(Part):
    """From an image to the network's input."""

    short_edge: Annotated[int, Field(ge=0)] | None = None
    """Short edge of the resized image in pixels. None: images are not resized."""
    long_edge: Positive | None = None
    """Maximum long edge of the resized image in pixels. None: no limit."""
    rounding: Annotated[float, Field(ge=0, lt=1)] = 0.5
    """Number added to a side's length before it is truncated."""
    resampling: Literal["opencv", "pillow", "float"] = "opencv"
    """Kind of bilinear resampling: `opencv` of four pixels and `pillow` of all pixels covered, both
    rounded to integers; `float` of four pixels, not rounded."""
    channels: Literal["RGB", "BGR"] = "RGB"
    mean: Triple = (0.0, 0.0, 0.0)
    """Mean subtracted from pixels (0 to 255), in the order of `channels`."""
    std: tuple[
        Annotated[float, Field(gt=0)], Annotated[float, Field(gt=0)], Annotated[float, Field(gt=0)]
    ] = (1.0, 1.0, 1.0)
    """Divisor of pixels after the subtraction. For pixels from 0 to 1: 255, and no mean."""
    multiple_of: Positive = 1
    """Divisor of heights and widths, reached by adding zeros on the right and bottom."""
    centred: bool = False
    """Whether images lie in the middle of a black canvas and are resized like Matterport's, and
    boxes are shares of the canvas."""
    min_scale: Annotated[float, Field(gt=0)] = 1.0
    """Minimum scale of resized images that are `centred`."""
    min_padded: Positive = 1
    """Minimum padded height and width."""

    @model_validator(mode="after")
    def _has_a_short_edge(self) -> Self:
        if self.long_edge is not None and self.short_edge is None:
            raise ValueError("long_edge needs short_edge: set both or neither")
        return self


class Outputs(Part):
    """Names of the model's outputs, where their names and shapes do not show what they are."""

    boxes: Name | None = None
    """Output (D, 4) of x1, y1, x2, y2, or (D, 5) with the score at the end."""
    scores: Name | None = None
    labels: Name | None = None
    masks: Name | None = None


class Source(Part):
    """Origin of an exported file."""

    backend: Name
    checkpoint: Name
    sha256: Name
    """SHA-256 of the network's variables."""


class Description(Part):
    """Everything about a model that its graph does not show."""

    format: Literal[1] = 1
    name: Name | None = None
    classes: Annotated[tuple[Name, ...], Field(min_length=1)] | None = None
    """Names of the classes without the background. None: COCO's."""
    dataset_ids: tuple[int, ...] | None = None
    """Id of each class in the data set's annotations. None: 1, 2, ..."""
    first_label: Literal[0, 1] = 1
    """Label of the first class."""
    score_threshold: Fraction = 0.5
    """Default score threshold of requests."""
    detections: Positive = 100
    """Maximum number of detections of an image."""
    one_scale: bool = False
    """Whether boxes are scaled back by the mean of both axes' scales. If not, by each axis' own."""
    paste: Literal["box", "pixels"] = "box"
    """Where masks lie: in their boxes, or on whole pixels as torchvision pastes them."""
    preprocessing: Preprocessing = Preprocessing()
    outputs: Outputs = Outputs()
    architecture: Name | None = None
    """Name of the architecture, such as `resnet50`."""
    source: Source | None = None
    facts: dict[str, str] = {}
    """Further facts for the operator."""

    @model_validator(mode="after")
    def _has_an_id_for_each_class(self) -> Self:
        if self.dataset_ids is not None and len(self.dataset_ids) != len(self.classes or ()):
            raise ValueError(
                f"{len(self.dataset_ids)} dataset_ids for {len(self.classes or ())} classes: list "
                "one for each class"
            )
        return self

    def over(self, default: "Description") -> "Description":
        """A copy with the values of `default` for fields that are not set here."""
        own = {name: getattr(self, name) for name in self.model_fields_set}
        if "classes" in own:
            own.setdefault("dataset_ids", None)
        return default.model_copy(update=own)

    @property
    def reading(self) -> Reading:
        """How images become the network's input, and its output detections."""
        return Reading(
            preparation=self._preparation(),
            paste=self.paste,
            detections=self.detections,
        )

    def _preparation(self) -> Preparation:
        said = self.preprocessing
        given = said.model_dump(exclude={"long_edge", "centred", "min_scale"})
        given["long_edge"] = math.inf if said.long_edge is None else said.long_edge
        if said.centred:
            return CentredPreparation(**given, min_scale=said.min_scale)
        return Preparation(**given, one_scale=self.one_scale)

    @property
    def categories(self) -> tuple[Category, ...] | None:
        """The categories. None if classes have no names."""
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
    """Read the description in a file's metadata. Raises InvalidModel if it is invalid."""
    try:
        return Description.model_validate_json(text)
    except ValidationError as error:
        raise InvalidModel(f"{where}: metadata {KEY}: {_first(error)}") from None


def from_file(path: Path) -> Description:
    """Read the description in `model.yaml`. Raises InvalidModel if it is invalid."""
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

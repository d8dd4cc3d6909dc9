"""The options of a request: declared once, and completed once."""

from typing import Annotated, NamedTuple

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from maskrcnn_handlers.request import classes as names
from maskrcnn_server.backend import ModelMetadata, PredictOptions
from maskrcnn_server.formats import Encoding


def _listed(value: object) -> object:
    """A list that custom attributes and fields of forms write as text."""
    return [part.strip() for part in value.split(",")] if isinstance(value, str) else value


class Options(BaseModel):
    """What a client may ask for besides the image: JSON fields, custom attributes, form fields."""

    model_config = ConfigDict(extra="forbid")

    score_threshold: float | None = Field(
        None, ge=0, le=1, description="Return instances that score this or more."
    )
    mask_threshold: float | None = Field(
        None, gt=0, le=1, description="Probability from which a pixel belongs to a mask."
    )
    max_detections: int | None = Field(
        None, gt=0, description="Return this many instances at most, the best."
    )
    masks: bool = Field(True, description="False: boxes only.")
    classes: (
        Annotated[
            list[Annotated[str, Field(max_length=256)] | int],
            Field(min_length=1, max_length=1000),
            BeforeValidator(_listed),
        ]
        | None
    ) = Field(
        None, description="Return instances of these classes only: names, or class indices from 1."
    )
    rpn: bool = Field(False, description="True: also `rpn_boxes`, `rpn_scores` and `all_scores`.")
    format: str | None = Field(
        None, max_length=64, description="Name of the response format, such as `coco`."
    )
    rle: Encoding | None = Field(
        None, description="Encoding of run lengths, of formats that have them. Default: their own."
    )

    def over(self, defaults: "Options") -> "Options":
        """These options, and the defaults where these say nothing."""
        said = {
            name: value
            for name in self.model_fields_set
            if name in Options.model_fields and (value := getattr(self, name)) is not None
        }
        return defaults.model_copy(update=said) if said else defaults


class ResolvedOptions(NamedTuple):
    """The options of a request to a model, complete."""

    predict: PredictOptions
    """What the model is asked for."""
    category_ids: frozenset[int] | None
    """Categories whose detections are kept. None: all."""
    max_detections: int
    """Number of detections that are kept at most, the best."""
    rle: Encoding | None
    """Encoding of run lengths. None: the format's own."""


def resolved(asked: Options, defaults: Options, metadata: ModelMetadata) -> ResolvedOptions:
    """Options as a request asks for them, else as `defaults` say, else as the model says itself.

    Raises RequestError for a class that the model does not have.
    """
    options = asked.over(defaults)
    least, mask_threshold = options.score_threshold, options.mask_threshold
    most = options.max_detections or metadata.max_detections
    chosen = None if options.classes is None else names.ids(options.classes, metadata.categories)
    predict = PredictOptions(
        score_threshold=metadata.score_threshold if least is None else least,
        mask_threshold=PredictOptions.mask_threshold if mask_threshold is None else mask_threshold,
        # The model's best, some of which are left out, would be too few.
        max_detections=most if chosen is None else max(most, metadata.max_detections),
        masks=options.masks,
        proposals=options.rpn,
    )
    return ResolvedOptions(predict, chosen, most, options.rle)

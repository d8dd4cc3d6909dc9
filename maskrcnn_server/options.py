"""The options of a request: declared once, for requests and for the defaults of models."""

from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from maskrcnn_server.formats import Encoding

MASK_THRESHOLD = Field(gt=0, le=1, description="Probability from which a pixel belongs to a mask.")
FORMAT = Field(max_length=64, description="Name of the response format, such as `coco`.")


def _listed(value: object) -> object:
    """A list that variables, custom attributes and fields of forms write as text."""
    return [part.strip() for part in value.split(",")] if isinstance(value, str) else value


class Options(BaseModel):
    """Options of a request: JSON fields, custom attributes, form fields."""

    model_config = ConfigDict(extra="forbid")

    score_threshold: float | None = Field(
        None, ge=0, le=1, description="Return instances that score this or more."
    )
    mask_threshold: Annotated[float | None, MASK_THRESHOLD] = None
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
    tile: str | None = Field(
        None,
        pattern=r"^[0-9]{1,5}(x[0-9]{1,5})?$",
        description="Width and height in pixels of the tiles that the image is cut into, such as "
        "`512` or `640x512`. Default: it is not cut.",
    )
    overlap: float | None = Field(
        None, ge=0, le=0.8, description="Fraction of a tile that neighbours share. Default: 0.25."
    )
    overview: bool = Field(
        False, description="True: look at the whole image, too, for what is larger than a tile."
    )
    format: Annotated[str | None, FORMAT] = None
    rle: Encoding | None = Field(
        None, description="Encoding of run lengths, of formats that have them. Default: their own."
    )

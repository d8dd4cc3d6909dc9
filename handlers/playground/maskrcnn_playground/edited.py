"""Annotations that someone has edited on the page, written in any response format."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from pydantic import Field, ValidationError

from maskrcnn_annotation_formats import reading
from maskrcnn_handlers.request import images
from maskrcnn_server.categories import Category
from maskrcnn_server.errors import InvalidImage, RequestError
from maskrcnn_server.rle import Size

if TYPE_CHECKING:
    from maskrcnn_server.backend import Image, ModelMetadata
    from maskrcnn_server.formats import Prediction


class Edited(reading.Annotations):
    """A reply in the format `sagemaker`, as someone has changed it."""

    image_size: tuple[reading.Pixels, reading.Pixels]
    """Height and width of the image."""
    img_data: str = Field("", repr=False)
    """Image file in base64, for formats that draw on it. Empty: black pixels."""


def parse(body: bytes) -> Edited:
    """The edited annotations in JSON. Raises RequestError, which says what is wrong and where."""
    try:
        return Edited.model_validate_json(body)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"])) or "body"
        raise RequestError(f"{where}: {first['msg']}", field=where) from None


def prediction(edited: Edited, model: ModelMetadata, max_pixels: int) -> Prediction:
    """The edited annotations as a format takes them.

    Categories that the model does not have are added to its own. Raises RequestError for masks that
    do not fit the image, and for a category whose number is another one's in the model.
    """
    made = reading.prediction(edited, _image(edited, max_pixels), max_pixels)
    categories = _merged(model.categories, made.model.categories)
    return replace(made, model=replace(model, categories=categories))


def _image(edited: Edited, max_pixels: int) -> Image:
    size: Size = edited.image_size
    if not edited.img_data:
        return np.broadcast_to(np.uint8(0), (*size, 3))
    try:
        data = base64.b64decode(edited.img_data, validate=True)
    except binascii.Error as error:
        raise InvalidImage(f"img_data: {error}") from None
    image = images.decode(data, max_pixels)
    if image.shape[:2] != size:
        raise RequestError(
            f"image_size: {size} was said; the image's is {image.shape[:2]}", field="image_size"
        )
    return image


def _merged(known: Sequence[Category], used: Sequence[Category]) -> tuple[Category, ...]:
    names = {category.id: category.name for category in known}
    for category in used:
        if names.get(category.id, category.name) != category.name:
            raise RequestError(
                f"category {category.id} is {names[category.id]!r} in the model, not "
                f"{category.name!r}",
                field="annotations",
            )
    highest = max((category.dataset_id for category in known), default=0)
    added = [category for category in used if category.id not in names]
    numbered = enumerate(added, start=highest + 1)
    return (*known, *(replace(category, dataset_id=number) for number, category in numbered))

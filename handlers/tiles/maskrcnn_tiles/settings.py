"""The settings of this distribution, from variables that begin with `TILES_`."""

from __future__ import annotations

import difflib

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from maskrcnn_server import settings as environment
from maskrcnn_server.errors import InvalidSetting

PREFIX = "TILES"


class TileSettings(BaseModel):
    """What an operator chooses about requests whose images are cut."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    max_image_pixels: int | None = Field(
        None,
        gt=0,
        description="Largest TIFF in pixels that is read in parts, by GDAL, when a request wants "
        "tiles. Unset: TIFFs are decoded whole, up to `MASKRCNN_MAX_IMAGE_PIXELS`, as others are.",
    )
    max_tiles: int = Field(
        2000, gt=0, le=1_000_000, description="Number of tiles of one image at most."
    )
    images_at_once: int = Field(
        2, gt=0, le=64, description="Number of images that are cut at the same time. Others wait."
    )


def read() -> TileSettings:
    """The settings in the environment. Raises InvalidSetting, naming the variable and its rule."""
    given = environment.backend_options(PREFIX)
    for name in given.keys() - TileSettings.model_fields.keys():
        nearest = difflib.get_close_matches(name, TileSettings.model_fields, n=1, cutoff=0)[0]
        raise InvalidSetting(
            f"{variable(name)}: no such setting; the nearest is {variable(nearest)}"
        )
    try:
        return TileSettings.model_validate(given)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        name = str(first["loc"][0])
        raise InvalidSetting(f"{variable(name)}={given[name]}: {first['msg']}") from None


def variable(name: str) -> str:
    """The environment variable of a setting."""
    return f"{PREFIX}_{name.upper()}"

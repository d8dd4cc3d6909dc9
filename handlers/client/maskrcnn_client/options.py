"""What a request may ask for."""

from collections.abc import Sequence
from typing import TypedDict

from maskrcnn_client.errors import InvalidOption


class Options(TypedDict, total=False):
    """The keywords of `predict`. None, or a keyword that is not there: the server's default.

    The server's other options choose a reply's format, which is the client's business.
    """

    score_threshold: float | None
    """Lowest score of an instance, 0 to 1."""
    mask_threshold: float | None
    """Lowest probability of a pixel of a mask, more than 0, to 1."""
    max_detections: int | None
    """Limit of instances, the best."""
    masks: bool
    """False: boxes only."""
    classes: Sequence[str | int] | None
    """Classes to look for: names, or class indices from 1."""
    tile: str | None
    """Width and height in pixels of the tiles that the image is cut into: `512` or `640x512`."""
    overlap: float | None
    """Fraction of a tile that neighbours share, 0 to 0.8."""
    overview: bool
    """True: the whole image, too, for what is larger than a tile."""
    model: str | None
    """Name of the model, of a server of several."""


def attributes(options: Options) -> str:
    """The options as custom attributes, and the compact format that is exact.

    Raises InvalidOption.
    """
    pairs = ["format=coco"]
    for name, value in options.items():
        if name not in Options.__annotations__:
            allowed = ", ".join(Options.__annotations__)
            raise InvalidOption(f"{name}: no such option; there are {allowed}")
        if value is not None:
            pairs.append(f"{name}={_text(value)}")
            if ";" in pairs[-1] or not (pairs[-1].isascii() and pairs[-1].isprintable()):
                raise InvalidOption(f"{name}={value}: printable ASCII without ; is allowed")
    return ";".join(pairs)


def for_tiles(options: Options) -> str:
    """The options of a request for tiles. Raises InvalidOption."""
    if options.get("tile") is None:
        raise InvalidOption("tile: say how large the tiles are, such as tile='512'")
    return attributes(options)


def for_images(options: Options) -> str:
    """The options of a request for several images. Raises InvalidOption."""
    if options.get("tile") is not None:
        raise InvalidOption("tile: `tiles` asks for the tiles of one image")
    return attributes(options)


def _text(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list | tuple):
        parts = [str(part) for part in value]
        if any("," in part for part in parts):
            raise InvalidOption(f"{value}: a comma cannot be in a name")
        return ",".join(parts)
    return str(value)

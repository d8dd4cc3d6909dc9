"""The options of a request, completed once."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from maskrcnn_server.backend import PredictOptions
from maskrcnn_server.errors import RequestError
from maskrcnn_server.options import Options

if TYPE_CHECKING:
    from maskrcnn_server.backend import ModelMetadata
    from maskrcnn_server.categories import Category
    from maskrcnn_server.formats import Encoding
    from maskrcnn_server.settings import ModelDefaults

NAMES = set(Options.model_fields)
"""Names of the options, which schemas of requests have among other fields."""
UNLIMITED = 1_000_000_000
"""Number of detections that are kept of an image in tiles, unless its request says one."""


class TileOptions(NamedTuple):
    """How a request wants its images cut."""

    tile: str
    """Width and height in pixels, such as `512` or `640x512`."""
    overlap: float | None
    """Fraction of a tile that neighbours share. None: the default."""
    overview: bool


class ResolvedOptions(NamedTuple):
    """The options of a request to a model, complete."""

    predict: PredictOptions
    """Options of the model's call."""
    category_ids: frozenset[int] | None
    """Categories whose detections are kept. None: all."""
    max_detections: int
    """Number of detections that are kept at most, the best."""
    rle: Encoding | None
    """Encoding of run lengths. None: the format's own."""
    tiles: TileOptions | None = None
    """How images are cut. None: they are not."""


def given(options: Options) -> dict[str, Any]:
    """The options that a client gave, by name; null counts as not given."""
    return options.model_dump(include=NAMES, exclude_unset=True, exclude_none=True)


def resolved(asked: Options, defaults: ModelDefaults, metadata: ModelMetadata) -> ResolvedOptions:
    """Options of a request, else those of the model's settings, else the model's own.

    Raises RequestError for a class that the model does not have, and options of tiles without any.
    """
    options = defaults.model_copy(update=given(asked))
    for name in ("overlap", "overview") if options.tile is None else ():
        if getattr(asked, name):
            raise RequestError(f"{name}: it needs `tile`, the size of the tiles", field=name)
    score_threshold = options.score_threshold
    own = metadata.max_detections if options.tile is None else UNLIMITED
    limit = options.max_detections or own
    chosen = None if options.classes is None else class_ids(options.classes, metadata.categories)
    predict = PredictOptions(
        score_threshold=metadata.score_threshold if score_threshold is None else score_threshold,
        mask_threshold=options.mask_threshold,
        # The best detections of all classes may hold too few of the chosen ones.
        max_detections=limit if chosen is None else max(limit, metadata.max_detections),
        masks=options.masks,
        proposals=options.rpn,
    )
    tiles = None
    if options.tile is not None:
        tiles = TileOptions(options.tile, options.overlap, options.overview)
    return ResolvedOptions(predict, chosen, limit, options.rle, tiles)


def class_ids(wanted: Sequence[str | int], categories: Sequence[Category]) -> frozenset[int]:
    """Class indices of the network, for classes given by name or by index (a number, or text).

    Raises RequestError for an unknown class, with the nearest names.
    """
    by_name: dict[str, set[int]] = {}
    for category in categories:
        by_name.setdefault(category.name, set()).add(category.id)
    known = {category.id for category in categories}
    chosen: set[int] = set()
    for one in wanted:
        number = int(one) if isinstance(one, int) or (one.isascii() and one.isdigit()) else None
        if isinstance(one, str) and one in by_name:
            chosen |= by_name[one]
        elif number in known:
            chosen.add(number)
        else:
            raise _unknown_class(one, list(by_name), known)
    return frozenset(chosen)


def _unknown_class(one: str | int, names: list[str], known: set[int]) -> RequestError:
    asked = str(one)[:80]
    nearest = difflib.get_close_matches(asked, names, n=3, cutoff=0.5)
    hint = f"the nearest are {', '.join(nearest)}" if nearest else f"such as {names[0]}"
    return RequestError(
        f"classes: the model has no class {asked!r}; {hint}; "
        f"or a class index, {min(known)} to {max(known)}",
        field="classes",
        nearest=nearest,
    )

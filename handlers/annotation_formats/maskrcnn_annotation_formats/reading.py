"""Reads the format `sagemaker` back: replies of this server, and of the old containers."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Annotated, NamedTuple

import numpy as np
from pydantic import BaseModel, Field, FiniteFloat, ValidationError

from maskrcnn_server.backend import Image, ModelMetadata
from maskrcnn_server.categories import Category, coco
from maskrcnn_server.detections import Detections
from maskrcnn_server.errors import RequestError
from maskrcnn_server.formats import Prediction
from maskrcnn_server.masks import RunLengthMasks
from maskrcnn_server.rle import RLE, Size, from_counts

SUFFIXES = (".json", ".jsonl", ".out")
"""Suffixes of files that are looked for in a folder; batch transform writes `.out`."""
MAX_PIXELS = 1 << 48

Pixels = Annotated[int, Field(gt=0, le=1 << 24)]


class Segmentation(BaseModel):
    """Row-wise run lengths; `size` is height, width."""

    counts: list[int]
    size: tuple[Pixels, Pixels]


class Annotation(BaseModel):
    """One instance; `bbox` is x, y, width, height.

    The old containers wrote no score, which counts as 1.
    """

    bbox: tuple[FiniteFloat, FiniteFloat, FiniteFloat, FiniteFloat]
    category_id: Annotated[int, Field(ge=1, le=1 << 31)]
    category_name: Annotated[str, Field(max_length=1024)]
    score: Annotated[float, Field(ge=0, le=1)] = 1
    segmentation: Segmentation | None = None


class Annotations(BaseModel):
    """The instances in one image; other fields are left alone."""

    img_id: str | int
    annotations: Annotated[list[Annotation], Field(max_length=100_000)]

    @property
    def size(self) -> Size | None:
        """Height and width of the image, if a mask tells."""
        return next((a.segmentation.size for a in self.annotations if a.segmentation), None)


class Entry(NamedTuple):
    """An entry of a file of replies."""

    place: str
    """The file, and the number of the entry if there are several."""
    content: Annotations | RequestError


def stored(paths: Sequence[Path]) -> Iterator[Entry]:
    """The replies in files, and in those of folders: one, a list, or one in each line.

    One without a name has its file's, as batch transform names them. What is wrong with one stands
    in its place. Raises OSError for a file that is not there.
    """
    for path in paths:
        inside = sorted(p for p in path.rglob("*") if p.suffix in SUFFIXES and p.is_file())
        for file in inside if path.is_dir() else [path]:
            values = _values(file.read_bytes())
            for number, value in enumerate(values, start=1):
                place = f"{file}:{number}" if len(values) > 1 else str(file)
                try:
                    found = annotations(value)
                except RequestError as error:
                    yield Entry(place, error)
                    continue
                if found.img_id == "":
                    found.img_id = file.stem
                yield Entry(place, found)


def annotations(value: object) -> Annotations:
    """The annotations in a JSON value. Raises RequestError if it is no reply in this format."""
    try:
        return Annotations.model_validate(value)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"])) or "not a reply"
        raise RequestError(f"{where}: {first['msg']}") from None


def prediction(
    found: Annotations, image: Image | None = None, max_pixels: int = MAX_PIXELS
) -> Prediction:
    """The annotations as a format takes them; without an image, one of black pixels.

    Raises RequestError for what cannot be: masks that do not fit, a size that nothing tells, or one
    of more than `max_pixels`.
    """
    size = found.size if image is None else (image.shape[0], image.shape[1])
    if size is None:
        raise RequestError("the image's size is unknown: there is no mask; name the image's folder")
    height, width = size
    if height * width > max_pixels:
        raise RequestError(f"{width} x {height} pixels; at most {max_pixels} are allowed")
    best_first = sorted(found.annotations, key=lambda a: -a.score)
    corners = np.array([a.bbox for a in best_first], np.float64).reshape(-1, 4)
    corners[:, 2:] = corners[:, :2] + np.maximum(corners[:, 2:], 0)
    detections = Detections(
        size=size,
        boxes=corners.clip(0, (width, height, width, height)).astype(np.float32),
        scores=np.array([a.score for a in best_first], np.float32),
        category_ids=np.array([a.category_id for a in best_first], np.int64),
        masks=_masks(best_first, size),
    )
    black = np.broadcast_to(np.uint8(0), (height, width, 3))
    return Prediction(
        image_id=found.img_id,
        image=black if image is None else image,
        detections=detections,
        model=ModelMetadata(
            name="stored", backend="stored", categories=_categories(best_first), score_threshold=0
        ),
    )


def file_name(image_id: str | int) -> str:
    """Last part of the name of the image."""
    return PurePosixPath(str(image_id)).name


def _values(data: bytes) -> list[object]:
    """The JSON values in a file that may be replies; None for what is no JSON."""
    try:
        whole = json.loads(data)
    except (ValueError, RecursionError):
        return [_value(line) for line in data.splitlines() if line.strip()] or [None]
    if isinstance(whole, dict) and isinstance(whole.get("predictions"), list):
        whole = whole["predictions"]
    return whole if isinstance(whole, list) else [whole]


def _value(line: bytes) -> object:
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        return None


def _masks(found: Sequence[Annotation], size: Size) -> RunLengthMasks | None:
    runs: list[RLE] = []
    for annotation in found:
        if annotation.segmentation is not None:
            if annotation.segmentation.size != size:
                raise RequestError(
                    f"a mask of size {annotation.segmentation.size} in an image of {size}"
                )
            try:
                runs.append(from_counts(annotation.segmentation.counts, size, "rows"))
            except ValueError as error:
                raise RequestError(str(error)) from None
    if runs and len(runs) != len(found):
        raise RequestError(f"{len(runs)} of {len(found)} annotations have masks, not all")
    return RunLengthMasks(runs, size) if runs or not found else None


def _categories(found: Sequence[Annotation]) -> tuple[Category, ...]:
    """The categories that occur; where number and name are COCO's, with COCO's own id."""
    official = {(c.id, c.name): c.dataset_id for c in coco()}
    names: dict[int, str] = {}
    for annotation in found:
        number, name = annotation.category_id, annotation.category_name
        if names.setdefault(number, name) != name:
            raise RequestError(f"category {number} is {names[number]!r} and {name!r}")
    return tuple(Category(i, n, official.get((i, n), i)) for i, n in sorted(names.items()))

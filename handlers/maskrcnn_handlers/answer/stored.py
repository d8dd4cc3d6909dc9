"""Answers that clients have kept: of the containers before this server, or of its own default."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, NamedTuple

import numpy as np
from pydantic import BaseModel, Field, FiniteFloat, ValidationError

from maskrcnn_server.backend import Image, ModelMetadata
from maskrcnn_server.categories import Category, coco
from maskrcnn_server.detections import Detections
from maskrcnn_server.errors import RequestError
from maskrcnn_server.formats import Encoding, Prediction
from maskrcnn_server.masks import RunLengthMasks
from maskrcnn_server.rle import RLE, Size, from_counts

SUFFIXES = (".json", ".jsonl", ".out")
"""Of files that are looked for in a folder; batch transform writes `.out`."""

Pixels = Annotated[int, Field(gt=0, le=1 << 24)]


class Segmentation(BaseModel):
    """Row-wise run lengths."""

    counts: list[int]
    size: tuple[Pixels, Pixels]


class Annotation(BaseModel):
    """One instance; the old containers wrote no score, which counts as 1."""

    bbox: tuple[FiniteFloat, FiniteFloat, FiniteFloat, FiniteFloat]
    category_id: Annotated[int, Field(ge=1, le=1 << 31)]
    category_name: Annotated[str, Field(max_length=1024)]
    score: Annotated[float, Field(ge=0, le=1)] = 1
    segmentation: Segmentation | None = None


class Answer(BaseModel):
    """What was found in one picture; other fields are left alone."""

    img_id: str | int
    annotations: Annotated[list[Annotation], Field(max_length=100_000)]

    @property
    def size(self) -> Size | None:
        """Of the picture, if a mask tells."""
        return next((a.segmentation.size for a in self.annotations if a.segmentation), None)


class Entry(NamedTuple):
    """One of the answers in a file."""

    place: str
    answer: Answer | RequestError


def read(paths: Sequence[Path]) -> Iterator[Entry]:
    """The answers in files, and in those of folders: one, a list, or one in each line.

    One without a name has its file's, as batch transform names them. What is wrong with one stands
    in its place. Raises OSError for a file that is not there.
    """
    for path in paths:
        inside = sorted(p for p in path.rglob("*") if p.suffix in SUFFIXES and p.is_file())
        for file in inside if path.is_dir() else [path]:
            values = _values(file.read_bytes())
            for number, value in enumerate(values, start=1):
                place = f"{file}:{number}" if len(values) > 1 else str(file)
                answer = _answer(value)
                if isinstance(answer, Answer) and answer.img_id == "":
                    answer.img_id = file.stem
                yield Entry(place, answer)


def prediction(
    answer: Answer, picture: Image | None, max_pixels: int, rle: Encoding | None = None
) -> Prediction:
    """The answer as a format takes it; without a picture, one of black pixels.

    Raises RequestError for what cannot be: masks that do not fit, or a size that nothing tells.
    """
    size = answer.size if picture is None else (picture.shape[0], picture.shape[1])
    if size is None:
        raise RequestError("the picture's size is not known: no mask tells; where is the picture?")
    height, width = size
    if height * width > max_pixels:
        raise RequestError(f"{width} x {height} pixels; at most {max_pixels} are allowed")
    best_first = sorted(answer.annotations, key=lambda a: -a.score)
    corners = np.array([a.bbox for a in best_first], np.float64).reshape(-1, 4)
    corners[:, 2:] = corners[:, :2] + np.maximum(corners[:, 2:], 0)
    found = Detections(
        size=size,
        boxes=corners.clip(0, (width, height, width, height)).astype(np.float32),
        scores=np.array([a.score for a in best_first], np.float32),
        category_ids=np.array([a.category_id for a in best_first], np.int64),
        masks=_masks(best_first, size),
    )
    black = np.broadcast_to(np.uint8(0), (height, width, 3))
    model = ModelMetadata(
        name="stored", backend="stored", categories=_categories(best_first), score_threshold=0
    )
    return Prediction(
        image_id=answer.img_id,
        image=black if picture is None else picture,
        detections=found,
        model=model,
        rle=rle,
    )


def _values(data: bytes) -> list[object]:
    """The JSON values in a file that may be answers; None for what is no JSON."""
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


def _answer(value: object) -> Answer | RequestError:
    try:
        return Answer.model_validate(value)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"])) or "no answer"
        return RequestError(f"{where}: {first['msg']}")


def _masks(annotations: Sequence[Annotation], size: Size) -> RunLengthMasks | None:
    runs: list[RLE] = []
    for annotation in annotations:
        if annotation.segmentation is not None:
            if annotation.segmentation.size != size:
                raise RequestError(
                    f"a mask of size {annotation.segmentation.size} in a picture of {size}"
                )
            try:
                runs.append(from_counts(annotation.segmentation.counts, size, "rows"))
            except ValueError as error:
                raise RequestError(str(error)) from None
    if runs and len(runs) != len(annotations):
        raise RequestError(f"{len(runs)} of {len(annotations)} annotations have masks, not all")
    return RunLengthMasks(runs, size) if runs or not annotations else None


def _categories(annotations: Sequence[Annotation]) -> tuple[Category, ...]:
    """Those that occur; where number and name are COCO's, with COCO's own id."""
    official = {(c.id, c.name): c.dataset_id for c in coco()}
    names: dict[int, str] = {}
    for annotation in annotations:
        number, name = annotation.category_id, annotation.category_name
        if names.setdefault(number, name) != name:
            raise RequestError(f"category {number} is {names[number]!r} and {name!r}")
    return tuple(Category(i, n, official.get((i, n), i)) for i, n in sorted(names.items()))

"""What a server found in a picture, as who asked gets it."""

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, TypeAlias

import numpy as np
import PIL.Image
from numpy.typing import NDArray
from pydantic import Field, FiniteFloat, TypeAdapter, ValidationError
from typing_extensions import NotRequired, TypedDict

from maskrcnn_client.drawing import drawn
from maskrcnn_client.payload import Payload, measured, upright
from maskrcnn_server.categories import Category
from maskrcnn_server.detections import Detections
from maskrcnn_server.errors import NoAnswer
from maskrcnn_server.masks import RunLengthMasks
from maskrcnn_server.rle import RLE, Size, encode, from_compressed


class Segmentation(TypedDict):
    """COCO's compressed run lengths; `size` is height, width."""

    counts: str
    size: list[int]


Pixels: TypeAlias = Annotated[float, Field(ge=-1e9, le=1e9, allow_inf_nan=False)]


class Result(TypedDict):
    """One of COCO's results: what the format `coco` has for an instance.

    `bbox` is x, y, width, height; `category_id` the data set's.
    """

    image_id: int | str
    category_id: Annotated[int, Field(lt=2**31)]
    category_name: NotRequired[str]
    bbox: Annotated[list[Pixels], Field(min_length=4, max_length=4)]
    score: Annotated[float, Field(ge=0, le=1)]
    area: FiniteFloat
    segmentation: NotRequired[Segmentation]


@dataclass(frozen=True, eq=False)
class Answer:
    """The instances in a picture, best first."""

    detections: Detections
    """In pixels of the picture as it was given; the categories' ids are the data set's."""
    categories: tuple[Category, ...]
    """Those that occur."""
    results: tuple[Result, ...]
    """The same as COCO's results."""
    picture: bytes
    """The image file."""
    notes: tuple[str, ...] = ()
    """What was done to the picture so that it could be sent, in sentences."""

    def __len__(self) -> int:
        return len(self.detections)

    @property
    def boxes(self) -> NDArray[np.float32]:
        """(N, 4): x1, y1, x2, y2 in pixels."""
        return self.detections.boxes

    @property
    def scores(self) -> NDArray[np.float32]:
        """(N,), 0 to 1, descending."""
        return self.detections.scores

    @property
    def names(self) -> list[str]:
        """The name of each instance's category."""
        names = {category.id: category.name for category in self.categories}
        return [names[int(i)] for i in self.detections.category_ids]

    def masks(self) -> NDArray[np.bool_]:
        """(N, height, width): all bitmaps at once; `detections.masks` has them as run lengths.

        Raises ValueError if the answer has none.
        """
        if self.detections.masks is None:
            raise ValueError("the answer has no masks: none were asked for, or the model has none")
        found = [mask.bitmap() for mask in self.detections.masks.rle("columns")]
        return np.array(found, np.bool_).reshape(-1, *self.detections.size)

    def to_coco(self, image_id: int | str) -> list[Result]:
        """COCO's results, which pycocotools' `loadRes` reads, for an image of this id."""
        return [{**result, "image_id": image_id} for result in self.results]

    def draw(self) -> PIL.Image.Image:
        """The picture with masks, boxes and labels drawn over it, by supervision.

        Raises InvalidSetting if that is not installed.
        """
        return drawn(upright(self.picture), self.detections, self.names)


def read(body: bytes, picture: bytes, sent: Payload) -> Answer:
    """The answer in a reply's body, in COCO's results format, to what was sent for a picture.

    Raises NoAnswer if it is none.
    """
    size = measured(picture)
    try:
        results = _schema().validate_json(body)
        runs = [_mask(result["segmentation"], sent.size) for result in results if _masked(result)]
        if len(runs) not in (0, len(results)):
            raise ValueError("masks for some instances only")
        if sent.size != size:
            runs = [_resized(mask, size) for mask in runs]
            results = _rescaled(results, runs, sent.size, size)
        found = Detections(
            size=size,
            boxes=_boxes([result["bbox"] for result in results], size),
            scores=np.array([result["score"] for result in results], np.float32),
            category_ids=np.array([result["category_id"] for result in results], np.int64),
            masks=RunLengthMasks(tuple(runs), size) if len(runs) == len(results) else None,
        )
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise NoAnswer(f"the answer is none of COCO's results: {where} {first['msg']}") from None
    except ValueError as error:
        raise NoAnswer(f"the answer is not what a server of this kind answers: {error}") from None
    names = {r["category_id"]: r.get("category_name", str(r["category_id"])) for r in results}
    categories = tuple(Category(i, name, i) for i, name in sorted(names.items()))
    return Answer(found, categories, tuple(results), picture, sent.notes)


@functools.cache
def _schema() -> TypeAdapter[list[Result]]:
    return TypeAdapter(list[Result])


def _masked(result: Result) -> bool:
    return "segmentation" in result


def _mask(segmentation: Segmentation, size: Size) -> RLE:
    if segmentation["size"] != list(size):
        raise ValueError(f"a mask of {segmentation['size']} in a picture of {size}")
    return from_compressed(segmentation["counts"], size)


def _boxes(rows: Sequence[Sequence[float]], size: Size) -> NDArray[np.float32]:
    """Corners of boxes x, y, width, height, whose decimals are rounded: clipped to the picture."""
    corners = np.array(rows, np.float64).reshape(-1, 4)
    corners[:, 2:] += corners[:, :2]
    height, width = size
    return corners.clip(0, (width, height, width, height)).astype(np.float32)


def _resized(mask: RLE, size: Size) -> RLE:
    height, width = size
    bitmap = PIL.Image.fromarray(mask.bitmap())
    return encode(np.array(bitmap.resize((width, height)), np.bool_), "columns")


def _rescaled(results: list[Result], runs: list[RLE], sent: Size, size: Size) -> list[Result]:
    """Results in a picture of the size `sent` as those in one of `size`."""
    down, across = size[0] / sent[0], size[1] / sent[1]
    scaled: list[Result] = []
    for i, result in enumerate(results):
        x, y, width, height = result["bbox"]
        bbox = [x * across, y * down, width * across, height * down]
        changed: Result = {**result, "bbox": bbox, "area": bbox[2] * bbox[3]}
        if runs:
            changed["area"] = runs[i].area
            changed["segmentation"] = {"counts": runs[i].compressed(), "size": list(size)}
        scaled.append(changed)
    return scaled

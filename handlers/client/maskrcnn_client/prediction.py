"""What a server found in an image."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, Any, TypedDict

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, Field, FiniteFloat, TypeAdapter, ValidationError

from maskrcnn_client import rle
from maskrcnn_client.drawing import drawn
from maskrcnn_client.errors import InvalidReply
from maskrcnn_client.images import Payload, Size, measured, upright
from maskrcnn_client.libraries import pillow
from maskrcnn_client.replies import Reply

if TYPE_CHECKING:
    import PIL.Image


class Segmentation(TypedDict):
    """A mask in COCO's compressed run lengths; `size` is [height, width]."""

    counts: str
    size: list[int]


class _Result(TypedDict):
    image_id: int | str
    category_id: int
    category_name: str
    bbox: list[float]
    score: float
    area: float


class CocoResult(_Result, total=False):
    """An entry of COCO's results.

    `category_id` is the data set's, `bbox` is x, y, width, height in pixels, `score` is 0 to 1, and
    `area` counts the mask's pixels, or is the box's area if there is no mask.
    """

    segmentation: Segmentation


class _Mask(BaseModel):
    counts: str
    size: tuple[int, int]


Position = Annotated[float, Field(ge=-1e9, le=1e9)]
Length = Annotated[float, Field(ge=0, le=1e9)]


class _Instance(BaseModel):
    """An entry of a reply."""

    category_id: Annotated[int, Field(ge=1, lt=2**31)]
    category_name: str | None = None
    bbox: tuple[Position, Position, Length, Length]
    score: Annotated[float, Field(ge=0, le=1)]
    area: FiniteFloat
    segmentation: _Mask | None = None


INSTANCES = TypeAdapter(list[_Instance])


@dataclass(frozen=True, eq=False)
class Prediction:
    """The instances in an image, best first."""

    size: Size
    """Height and width of the upright image in pixels."""
    boxes: NDArray[np.float32]
    """(N, 4): x1, y1, x2, y2 in pixels."""
    scores: NDArray[np.float32]
    """(N,), 0 to 1, descending."""
    category_ids: NDArray[np.int64]
    """(N,), the data set's."""
    names: Sequence[str]
    """Names of the categories of the N instances."""
    results: Sequence[CocoResult]
    """The same as COCO's results, of an image without an id."""
    image: bytes
    """What was asked about: an image file, or an array in NumPy's format."""
    notes: Sequence[str] = ()
    """Sentences about what was done to the image so that it could be sent."""

    def __len__(self) -> int:
        return len(self.scores)

    @property
    def has_masks(self) -> bool:
        """Whether there is a mask for each instance."""
        return all("segmentation" in result for result in self.results)

    def masks(self) -> NDArray[np.bool_]:
        """All bitmaps at once, (N, height, width). Raises ValueError if there are no masks."""
        return np.array(list(self.each_mask()), np.bool_).reshape(-1, *self.size)

    def each_mask(self) -> Iterator[NDArray[np.bool_]]:
        """The bitmaps (height, width) one by one. Raises ValueError if there are no masks."""
        if not self.has_masks:
            raise ValueError("there are no masks: none were asked for, or the model has none")
        for result in self.results:
            yield rle.decode(result["segmentation"]["counts"], self.size)

    def to_coco(self, image_id: int | str) -> list[CocoResult]:
        """COCO's results, which pycocotools' `loadRes` reads, for an image of this id."""
        return [{**result, "image_id": image_id} for result in self.results]

    def draw(self) -> "PIL.Image.Image":
        """The image with masks, boxes and labels drawn over it. Raises NotInstalled."""
        masks = self.each_mask() if self.has_masks else ()
        return drawn(upright(self.image), self.boxes, masks, self.category_ids, self.labels)

    @property
    def labels(self) -> list[str]:
        """A name and a score for each instance."""
        return [f"{name} {score:.2f}" for name, score in zip(self.names, self.scores, strict=True)]


def read(reply: Reply, image: Payload, sent: Payload) -> Prediction:
    """The prediction in a reply in COCO's results format, to what was sent for an image.

    Raises InvalidReply if it is none.
    """
    with _checked():
        return _prediction(INSTANCES.validate_json(reply.body), reply.size, image, sent)


def predicted(found: list[Any], size: Size | None, image: Payload, sent: Payload) -> Prediction:
    """The prediction in COCO's results, in the image of `size` that was sent for an image.

    Raises InvalidReply if it is none.
    """
    with _checked():
        return _prediction(INSTANCES.validate_python(found), size, image, sent)


def joined(predictions: Iterable[Prediction]) -> Prediction:
    """All instances of several predictions of one image, best first.

    Raises ValueError for none, or predictions of images of different sizes.
    """
    all_of = list(predictions)
    if len({one.size for one in all_of}) != 1:
        raise ValueError("predictions of one image are joined, and these are of none or several")
    first = all_of[0]
    order = np.argsort(-np.concatenate([one.scores for one in all_of]), kind="stable")
    names = [name for one in all_of for name in one.names]
    results = [result for one in all_of for result in one.results]
    return replace(
        first,
        boxes=np.concatenate([one.boxes for one in all_of])[order],
        scores=np.concatenate([one.scores for one in all_of])[order],
        category_ids=np.concatenate([one.category_ids for one in all_of])[order],
        names=[names[i] for i in order],
        results=[results[i] for i in order],
    )


@contextmanager
def _checked() -> Iterator[None]:
    """Raise InvalidReply for what is no prediction."""
    try:
        yield
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise InvalidReply(f"the reply is not COCO's results: {where} {first['msg']}") from None
    except ValueError as error:
        raise InvalidReply(f"the reply is not one of a maskrcnn_server: {error}") from None


def _prediction(
    instances: list[_Instance], said: Size | None, image: Payload, sent: Payload
) -> Prediction:
    masks = [instance.segmentation for instance in instances if instance.segmentation]
    if len(masks) not in (0, len(instances)):
        raise ValueError("masks for some instances only")
    size = sent.size or said or (masks[0].size if masks else measured(sent.body))
    for mask in masks:
        if mask.size != size:
            raise ValueError(f"a mask of {mask.size} in an image of {size}")
        rle.runs(mask.counts, size)
    scores = np.array([instance.score for instance in instances], np.float32)
    if (np.diff(scores) > 0).any():
        raise ValueError("scores that do not descend")
    results = [_result(instance) for instance in instances]
    if sent.original_size is not None:
        results = [_rescaled(result, size, sent.original_size) for result in results]
        size = sent.original_size
    return Prediction(
        size=size,
        boxes=_corners([result["bbox"] for result in results], size),
        scores=scores,
        category_ids=np.array([instance.category_id for instance in instances], np.int64),
        names=[result["category_name"] for result in results],
        results=results,
        image=image.body,
        notes=sent.notes,
    )


def _result(instance: _Instance) -> CocoResult:
    result: CocoResult = {
        "image_id": "",
        "category_id": instance.category_id,
        "category_name": instance.category_name or str(instance.category_id),
        "bbox": list(instance.bbox),
        "score": instance.score,
        "area": instance.area,
    }
    if instance.segmentation is not None:
        mask = instance.segmentation
        result["segmentation"] = {"counts": mask.counts, "size": list(mask.size)}
    return result


def _corners(boxes: Sequence[Sequence[float]], size: Size) -> NDArray[np.float32]:
    """Corners of boxes x, y, width, height, whose decimals are rounded: clipped to the image."""
    corners = np.array(boxes, np.float64).reshape(-1, 4)
    corners[:, 2:] += corners[:, :2]
    height, width = size
    return corners.clip(0, (width, height, width, height)).astype(np.float32)


def _rescaled(result: CocoResult, sent: Size, size: Size) -> CocoResult:
    """A result in an image of the size `sent` as that in one of `size`."""
    down, across = size[0] / sent[0], size[1] / sent[1]
    x, y, width, height = result["bbox"]
    bbox = [x * across, y * down, width * across, height * down]
    scaled: CocoResult = {**result, "bbox": bbox, "area": bbox[2] * bbox[3]}
    if "segmentation" in result:
        image = pillow("scaling a mask").Image
        small = image.fromarray(rle.decode(result["segmentation"]["counts"], sent))
        bitmap = np.array(small.resize((size[1], size[0])), np.bool_)
        scaled["area"] = int(bitmap.sum())
        scaled["segmentation"] = {"counts": rle.encode(bitmap), "size": list(size)}
    return scaled

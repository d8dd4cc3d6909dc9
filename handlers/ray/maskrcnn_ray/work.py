"""What a worker does: reads, predicts and writes the images of a part at a time."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from maskrcnn_predict.addresses import address
from maskrcnn_predict.concurrency import in_order
from maskrcnn_predict.sources import MAX_BYTES, contents
from maskrcnn_server.errors import DownloadFailed, InvalidImage, MaskRCNNError, StartupError
from maskrcnn_server.store.downloads import S3Source, s3_client

if TYPE_CHECKING:
    from collections.abc import Sequence

    from maskrcnn_handlers.formats.coco_results import CocoResult
    from maskrcnn_predict.local import LocalModel, ModelSpec
    from maskrcnn_ray.parts import Parts
    from maskrcnn_server.options import Options

IN_FLIGHT = 3
"""Number of parts that a worker has at a time: one is read, one computed, one written."""


class Item(NamedTuple):
    """An image that is not done."""

    name: str
    image_id: int | str
    version: str


@dataclass(frozen=True)
class Task:
    """What all workers do. It can be pickled."""

    spec: ModelSpec
    options: Options
    parts: Parts
    concurrency: int
    """Number of images of a part that are read and predicted at a time."""


@dataclass
class Outcome:
    """What became of the images of a part."""

    images: int = 0
    """Number of images that have results."""
    instances: int = 0
    failures: list[tuple[str, str]] = field(default_factory=list)
    """Name of each image that has none, and the reason."""

    @property
    def count(self) -> int:
        """Number of images."""
        return self.images + len(self.failures)


class Worker:
    """An actor with a model. Its methods are called from several threads."""

    def __init__(self, task: Task) -> None:
        self._task = task
        self._model: LocalModel | None = None
        self._client: Any = None

    def open(self) -> None:
        """Load the model. Raises StartupError."""
        self._model = self._task.spec.open(IN_FLIGHT * self._task.concurrency)

    def predict(self, items: Sequence[Item]) -> Outcome:
        """Predict for images, and write a part. Raises MaskRCNNError if it cannot be written."""
        if self._model is None:
            raise StartupError("the model is not open")
        predicted = partial(self._predicted, self._model)
        pairs = in_order(predicted, items, self._task.concurrency)
        return written(self._task.parts, [(item, result) for item, result in pairs])

    def _predicted(self, model: LocalModel, item: Item) -> list[CocoResult]:
        results = model.invoke(self._read(item), self._task.options)
        return [{**result, "image_id": item.image_id} for result in results]

    def _read(self, item: Item) -> bytes:
        if not item.name.startswith("s3://"):
            return contents(Path(item.name))
        if self._client is None:
            self._client = s3_client()
        where = address(item.name)
        chunks, size = [], 0
        try:
            for chunk in S3Source(self._client, where.bucket, where.key).read(0, item.version):
                chunks.append(chunk)
                size += len(chunk)
                if size > MAX_BYTES:
                    raise InvalidImage(f"more than {MAX_BYTES} bytes; at most that many are read")
        except DownloadFailed as error:
            raise InvalidImage(error.message) from error
        return b"".join(chunks)


def written(
    parts: Parts, pairs: Sequence[tuple[Item, Sequence[CocoResult] | MaskRCNNError]]
) -> Outcome:
    """Write a part of these results and errors. Raises MaskRCNNError."""
    lines: list[dict[str, Any]] = []
    outcome = Outcome()
    for item, result in pairs:
        line = {"picture": item.name, "image_id": item.image_id, "version": item.version}
        if isinstance(result, MaskRCNNError):
            lines.append({**line, "error": {"code": result.code, "message": result.message}})
            outcome.failures.append((item.name, result.message))
        else:
            lines.append({**line, "results": result})
            outcome.images += 1
            outcome.instances += len(result)
    parts.write(lines)
    return outcome

"""What predicts the instances in an image: a model in this process, or a server by its client."""

import math
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, cast

import PIL.Image

from maskrcnn_annotation_formats.drawing import overlay
from maskrcnn_handlers.formats.coco_results import CocoResult, coco_results
from maskrcnn_handlers.request import images
from maskrcnn_predict.child import running, serve_command
from maskrcnn_predict.local import DEFAULTS, TIMEOUT_S, LocalModel, ModelSpec
from maskrcnn_predict.targets import Target
from maskrcnn_server import settings as environment
from maskrcnn_server.categories import Category
from maskrcnn_server.detections import Detections
from maskrcnn_server.errors import (
    ERROR_CLASSES,
    InvalidSetting,
    MaskRCNNError,
    NoAnswer,
    RequestError,
)
from maskrcnn_server.hosting.located import choose_backend, locate
from maskrcnn_server.masks import RunLengthMasks
from maskrcnn_server.options import Options
from maskrcnn_server.plugins import Plugins
from maskrcnn_server.rle import from_compressed
from maskrcnn_server.store.downloads import Progress

if TYPE_CHECKING:
    import maskrcnn_client

START_TIMEOUT_S = 600
RETRY_S = 300
"""Time for a busy server, or an endpoint that gets more instances."""
MAX_PAYLOAD_MB = 1024


@dataclass(frozen=True, eq=False)
class ImageResult:
    """The instances in one image, best first."""

    detections: Detections
    categories: tuple[Category, ...]
    results: Sequence[CocoResult]
    """The same as COCO's results, of an image without an id."""
    image: bytes
    """The image file."""
    notes: Sequence[str] = ()
    """Sentences about what was done to the image so that it could be sent."""

    def __len__(self) -> int:
        return len(self.detections)

    @property
    def names(self) -> list[str]:
        """The name of each instance's category."""
        names = {category.id: category.name for category in self.categories}
        return [names[int(i)] for i in self.detections.category_ids]

    @property
    def names_by_id(self) -> dict[int, str]:
        """Names of the categories that were found, by their ids in the data set."""
        found = {int(i) for i in self.detections.category_ids}
        return {c.dataset_id: c.name for c in self.categories if c.id in found}

    def to_coco(self, image_id: int | str) -> list[CocoResult]:
        """COCO's results for an image of this id."""
        return [{**result, "image_id": image_id} for result in self.results]

    def draw(self) -> PIL.Image.Image:
        """The image with the instances drawn over it. Raises InvalidImage."""
        pixels = images.decode(self.image, math.prod(self.detections.size))
        return overlay(pixels, self.detections, self.categories)


class Predictor(Protocol):
    """Predicts, from any thread."""

    def predict(self, image: bytes, asked: Options = DEFAULTS) -> ImageResult:
        """The instances in an image file, by `score_threshold`, `max_detections` and `masks` of
        the options. Raises MaskRCNNError, RequestError for a bad image."""

    def class_names(self) -> Sequence[str] | None:
        """The classes that can be found, in their order. None: nobody tells them."""


@contextmanager
def in_process(spec: ModelSpec, progress: Progress, concurrency: int) -> Iterator[Predictor]:
    """A predictor with a model in this process. Raises StartupError."""
    with spec.open(concurrency, progress) as model:
        yield _InProcess(model)


@contextmanager
def opened(
    target: Target,
    plugins: Plugins,
    progress: Progress,
    backend: str | None = None,
    region: str | None = None,
    profile: str | None = None,
) -> Iterator[Predictor]:
    """A predictor by the client; a model is served by a process of its own meanwhile.

    Raises InvalidSetting without the client, StartupError if the model cannot be served.
    """
    if target.kind != "model":
        with _client(target.where, RETRY_S, region, profile) as predictor:
            yield predictor
        return
    settings = environment.read(model=target.where, backend=backend)
    located = locate(plugins, settings.model, settings, progress)
    chosen = choose_backend(plugins, located)
    command = serve_command("--model", str(located.folder), "--backend", chosen.name)
    # What is sent is what is measured: no image is made smaller on its way.
    command = ["env", f"MASKRCNN_MAX_PAYLOAD_MB={MAX_PAYLOAD_MB}", *command]
    with (
        running(command, start_timeout_s=START_TIMEOUT_S) as child,
        _client(child.url) as predictor,
    ):
        yield predictor


@contextmanager
def _client(
    target: str, retry_s: float = 60, region: str | None = None, profile: str | None = None
) -> Iterator[Predictor]:
    try:
        from maskrcnn_client import Client, ClientError
    except ImportError:
        raise InvalidSetting(
            "maskrcnn-client is not installed: pip install maskrcnn-client"
        ) from None
    try:
        client = Client(
            target, retry_s=retry_s, timeout_s=TIMEOUT_S, region=region, profile=profile
        )
    except ClientError as error:
        raise InvalidSetting(error.message) from error
    with client:
        yield _ByClient(client, target)


class _InProcess:
    def __init__(self, model: LocalModel) -> None:
        self._model = model

    def predict(self, image: bytes, asked: Options = DEFAULTS) -> ImageResult:
        found = self._model.prediction(image, asked)
        return ImageResult(
            found.detections, self._model.metadata.categories, coco_results(found), image
        )

    def class_names(self) -> Sequence[str]:
        return [category.name for category in self._model.metadata.categories]


class _ByClient:
    def __init__(self, client: "maskrcnn_client.Client", target: str) -> None:
        self._client = client
        self._target = target

    def class_names(self) -> Sequence[str] | None:
        from maskrcnn_client import ClientError
        from maskrcnn_client.cvat import told

        if "://" not in self._target:
            return None
        try:
            return told(self._target, os.environ.get(environment.API_KEY, ""))
        except ClientError:
            return None

    def predict(self, image: bytes, asked: Options = DEFAULTS) -> ImageResult:
        from maskrcnn_client import ClientError

        try:
            found = self._client.predict(
                image,
                score_threshold=asked.score_threshold,
                max_detections=asked.max_detections,
                masks=asked.masks,
            )
        except ClientError as error:
            raise _translated(error) from error
        return _result(found)


def _translated(error: "maskrcnn_client.ClientError") -> MaskRCNNError:
    """The same error as the server raised it, or NoAnswer if it was not the server's."""
    status = error.status or 500
    kind = ERROR_CLASSES.get(error.code, RequestError if status < 500 else NoAnswer)
    return kind(error.message, **error.detail)


def _result(found: "maskrcnn_client.Prediction") -> ImageResult:
    runs = [
        from_compressed(result["segmentation"]["counts"], found.size)
        for result in found.results
        if "segmentation" in result
    ]
    names = dict(zip(found.category_ids.tolist(), found.names, strict=True))
    detections = Detections(
        size=found.size,
        boxes=found.boxes,
        scores=found.scores,
        category_ids=found.category_ids,
        masks=RunLengthMasks(runs, found.size) if len(runs) == len(found) else None,
    )
    return ImageResult(
        detections=detections,
        categories=tuple(Category(i, name, i) for i, name in sorted(names.items())),
        # Both packages have a type for what the format `coco` has.
        results=cast("Sequence[CocoResult]", found.results),
        image=found.image,
        notes=found.notes,
    )

"""A model in this process, opened by a specification that can be sent to where it computes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING

from maskrcnn_handlers.formats.coco_results import coco_results
from maskrcnn_handlers.request import images as files
from maskrcnn_handlers.request.options import resolved
from maskrcnn_server import settings as environment
from maskrcnn_server.backend import ModelMetadata, Precision
from maskrcnn_server.formats import Prediction
from maskrcnn_server.hosting.job import Caller
from maskrcnn_server.hosting.scheduler import Scheduler
from maskrcnn_server.hosting.startup import open_model
from maskrcnn_server.options import Options
from maskrcnn_server.plugins import installed
from maskrcnn_server.store.downloads import Progress, silent

if TYPE_CHECKING:
    from maskrcnn_handlers.formats.coco_results import CocoResult
    from maskrcnn_handlers.request.options import ResolvedOptions
    from maskrcnn_server.backend import Image
    from maskrcnn_server.detections import Detections
    from maskrcnn_server.settings import Settings

TIMEOUT_S = 600
"""Limit in seconds of one prediction, the time in which it waits for others included."""
DEFAULTS = Options()
"""Options of a prediction that asks for nothing in particular."""


@dataclass(frozen=True, kw_only=True)
class ModelSpec:
    """Specification of a model, and of how it computes. It can be pickled.

    What is None is as the environment says where the model is opened.
    """

    address: str | None = None
    """Folder, archive, `s3://` or `https://` address, or name from the zoo."""
    backend: str | None = None
    engine: str | None = None
    """Engine: `openvino`, `torch`, `tensorflow`, `original`, `auto`."""
    device: str | None = None
    """Device that computes: `cpu`, `cuda`, `cuda:N`, `auto`."""
    precision: Precision | None = None
    threads: int | None = None
    """Number of compute threads."""
    streams: int | None = None
    """Number of images that a CPU computes at the same time."""
    score_threshold: float | None = None
    """Default of the option, 0 to 1."""
    mask_threshold: float | None = None
    """Default of the option, more than 0, to 1."""
    config: Mapping[str, str] = field(default_factory=dict)
    """Overrides of the framework's configuration: dotted key to YAML literal."""
    options: Mapping[str, str] = field(default_factory=dict)
    """Options of the backend, such as `variant` to `tf1`."""

    def settings(self) -> Settings:
        """Settings of this specification, and of the environment. Raises InvalidSetting."""
        own = {each.name: getattr(self, each.name) for each in fields(self)}
        return environment.read(model=own.pop("address"), **own)

    def open(self, concurrency: int = 1, progress: Progress = silent) -> LocalModel:
        """The model, loaded and run once. `concurrency` threads may predict at a time.

        Raises StartupError.
        """
        settings = self.settings()
        model = open_model(installed(), settings, progress)
        max_batch = settings.model.max_batch
        return LocalModel(Scheduler(model, max_waiting=concurrency, max_batch=max_batch), settings)


class LocalModel:
    """A model in this process, ready to predict from any thread."""

    def __init__(self, scheduler: Scheduler, settings: Settings) -> None:
        self._scheduler = scheduler
        self._settings = settings

    @property
    def metadata(self) -> ModelMetadata:
        """Name, backend, categories and defaults of the model."""
        return self._scheduler.metadata

    def predict(self, images: Sequence[Image], options: Options = DEFAULTS) -> list[Detections]:
        """Detections of each image, uint8 (height, width, 3) in RGB, in the same order.

        Raises MaskRCNNError, RequestError for options that the model does not have.
        """
        asked = self._resolved(options)
        with self._scheduler.job(Caller(TIMEOUT_S)) as job:
            found = job.predict(images, asked.predict) if images else []
        return [_chosen(each, asked) for each in found]

    def prediction(self, image: bytes, options: Options = DEFAULTS) -> Prediction:
        """Pixels and detections of an image file. Raises MaskRCNNError, RequestError for a bad
        image."""
        asked = self._resolved(options)
        with self._scheduler.job(Caller(TIMEOUT_S)) as job:
            pixels = files.decode(image, self._settings.max_image_pixels)
            (found,) = job.predict([pixels], asked.predict)
        return Prediction(
            image_id="",
            image=pixels,
            detections=_chosen(found, asked),
            model=self.metadata,
            rle=asked.rle,
        )

    def invoke(self, image: bytes, options: Options = DEFAULTS) -> list[CocoResult]:
        """COCO's results for an image file, whose `image_id` is empty. Raises as `prediction`."""
        return coco_results(self.prediction(image, options))

    def close(self) -> None:
        """Free the model, after the call that runs. May be called twice."""
        self._scheduler.close(timeout_s=1)

    def __enter__(self) -> LocalModel:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _resolved(self, options: Options) -> ResolvedOptions:
        return resolved(options, self._settings.model, self.metadata)


def _chosen(found: Detections, asked: ResolvedOptions) -> Detections:
    if asked.category_ids is None:
        return found
    return found.of_categories(asked.category_ids, asked.max_detections)

"""The framework's own code as an engine, in a process of its own.

Its modules are called `config`, `data` and `eval`, its configuration is global, and it needs legacy
Keras: none of this must reach the server.
"""

import hashlib
import logging
import os
import re
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib.metadata import PackageNotFoundError, version
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Generic, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray
from packaging.requirements import Requirement

from maskrcnn_network.folder import ModelFolder
from maskrcnn_network.sources import C
from maskrcnn_server.backend import Image, ModelConfig, ModelMetadata, PredictOptions
from maskrcnn_server.detections import Detections, Proposals
from maskrcnn_server.errors import BackendFailed, InvalidModel, InvalidSetting
from maskrcnn_server.masks import BitMasks, RoiMasks
from maskrcnn_server.trace import Trace

PROCESSES = "maskrcnn-workers"
"""Requirement for a process of its own."""
START_S = 300
"""Time limit in seconds for loading a model."""
REPLY_S = 600
"""Time limit in seconds for an image."""
OUTPUT_S = 0.2
"""Seconds to wait for the output of a process that failed."""
MAX_LINES = 5
"""Number of lines of that output shown in an error."""
MAX_LINE_LENGTH = 300
"""Number of characters shown of each line."""
NOISE = re.compile(r"[IW]\d{4} |WARNING: All log messages")
"""Pattern of lines that TensorFlow prints whenever it starts."""
ORIGINAL_MASK_THRESHOLD = 0.5
"""The only mask threshold of the framework's code."""


@dataclass(frozen=True, kw_only=True)
class Raw:
    """Raw results for an image, in pixels of the resized image unless stated otherwise.

    The arrays are those of `maskrcnn_server.trace.Trace`.
    """

    resized: NDArray[np.uint8]
    features: tuple[NDArray[np.float32], ...]
    """Feature maps; empty unless requested."""
    proposals: NDArray[np.float32]
    class_scores: NDArray[np.float32]
    boxes: NDArray[np.float32]
    scores: NDArray[np.float32]
    labels: NDArray[np.int64]
    soft_masks: NDArray[np.float32] | None
    image_boxes: NDArray[np.float32]
    """(N, 4) in pixels of the original image."""
    bitmaps: NDArray[np.bool_] | None
    """(N, height, width): masks as pasted by the framework."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """Parameters of a worker."""

    checkout: Path
    """The folder of the framework's modules."""
    checkpoint: Path
    """The `.npz` or `.index` file."""
    settings: Mapping[str, Any]
    """Values that replace defaults, by the framework's dotted keys."""
    class_names: Sequence[str]
    """Names of the classes, background first."""
    environment: Mapping[str, str] = field(default_factory=dict)
    """Environment variables of the process in addition to its parent's."""


class Code(Protocol):
    """The framework's code with a model loaded, in the worker."""

    def run(self, image: Image, features: bool) -> Raw:
        """Raw results for an image, with or without feature maps."""


Load: TypeAlias = Callable[[Job], Code]


@dataclass(frozen=True, kw_only=True)
class Original(Generic[C]):
    """How a framework's own code is found and started."""

    option: str
    """Backend option that names the checkout."""
    variable: str
    """Environment variable that sets the option."""
    what: str
    """Description of the checkout, for messages."""
    modules: tuple[str, ...]
    """Files that a checkout must contain."""
    packages: tuple[str, ...]
    """Requirements of the code, such as `scipy<1.14`."""
    settings: Callable[[ModelFolder[C]], dict[str, Any]]
    """Function that expresses the architecture in the framework's configuration."""
    load: Load
    """Loader that the worker calls. Importing its module must not import a framework."""

    def open(
        self, config: ModelConfig, folder: ModelFolder[C], metadata: ModelMetadata
    ) -> "OriginalModel":
        """Start the code with a model.

        Raises InvalidSetting if something is missing, InvalidModel if the framework refuses it.
        """
        checkout = self.checkout(config, metadata.backend)
        job = Job(
            checkout=checkout,
            checkpoint=folder.checkpoint.path,
            settings=self.settings(folder) | dict(folder.configured),
            class_names=["BG", *(category.name for category in folder.categories)],
            environment={} if config.threads is None else _threads(config.threads),
        )
        facts = {
            "engine": "original",
            "checkout": str(checkout),
            "commit": _commit(checkout),
            "code": f"SHA-256 {_digest(checkout)}",
            "packages": ", ".join(
                f"{name} {version(name)}" for name in (Requirement(t).name for t in self.packages)
            ),
        }
        return OriginalModel(
            replace(metadata, facts={**metadata.facts, **facts}),
            self.load,
            job,
            floor=folder.config.score_floor,
            limit=folder.config.detections,
        )

    def checkout(self, config: ModelConfig, backend: str) -> Path:
        """The checkout of the code. Raises InvalidSetting if it, or a package, is missing."""
        given = config.original or config.options.get(self.option)
        if given is None:
            raise InvalidSetting(
                f"engine original needs {self.what}: set {self.variable} to its path"
            )
        checkout = Path(given).expanduser().resolve()
        missing = [name for name in self.modules if not (checkout / name).is_file()]
        if missing:
            raise InvalidSetting(f"{checkout}: not {self.what}: {', '.join(missing)} missing")
        needed = (PROCESSES, *self.packages)
        absent = [text for text in needed if not _is_installed(Requirement(text))]
        if absent:
            raise InvalidSetting(
                f"engine original needs {', '.join(absent)}: pip install "
                f"'maskrcnn-{backend.replace('_', '-')}[original]' (Python 3.10 to 3.12)"
            )
        return checkout


class OriginalModel:
    """A model run by the framework's own code."""

    def __init__(
        self, metadata: ModelMetadata, load: Load, job: Job, *, floor: float, limit: int
    ) -> None:
        """The framework's graph returns at most `limit` detections, with scores from `floor`."""
        self.metadata = metadata
        self._floor = floor
        self._limit = limit
        self._worker = _Process(load, job)

    def predict(self, images: Sequence[Image], options: PredictOptions, /) -> list[Detections]:
        return [
            self._detections(self._worker.run(image, features=False), image, options)
            for image in images
        ]

    def trace(self, image: Image, options: PredictOptions, /) -> Trace:
        """Intermediate results of the framework's code for `image`."""
        raw = self._worker.run(image, features=True)
        kept = self._kept(raw, options)
        return Trace(
            resized=raw.resized,
            features=raw.features,
            proposals=raw.proposals,
            class_scores=raw.class_scores,
            boxes=raw.boxes[kept],
            scores=raw.scores[kept],
            labels=raw.labels[kept],
            soft_masks=None if raw.soft_masks is None else raw.soft_masks[kept],
            detections=self._detections(raw, image, options),
            min_score=self._least_score(options),
            limit=min(self._limit, options.max_detections),
        )

    def close(self) -> None:
        self._worker.close()

    def _kept(self, raw: Raw, options: PredictOptions) -> NDArray[np.int64]:
        """Indices of the detections to return, best first."""
        order = np.argsort(-raw.scores, kind="stable")
        return order[raw.scores[order] >= self._least_score(options)][: options.max_detections]

    def _least_score(self, options: PredictOptions) -> float:
        return max(options.score_threshold, self._floor)

    def _detections(self, raw: Raw, image: Image, options: PredictOptions) -> Detections:
        kept = self._kept(raw, options)
        height, width = size = image.shape[0], image.shape[1]
        limits = np.array([width, height, width, height], np.float32)
        boxes = np.clip(raw.image_boxes[kept], 0, limits).astype(np.float32)
        masks: BitMasks | RoiMasks | None = None
        if options.masks and raw.bitmaps is not None and raw.soft_masks is not None:
            if options.mask_threshold == ORIGINAL_MASK_THRESHOLD:
                masks = BitMasks(raw.bitmaps[kept])
            else:
                masks = RoiMasks(raw.soft_masks[kept], boxes, size, options.mask_threshold)
        return Detections(
            size=size,
            boxes=boxes,
            scores=raw.scores[kept].astype(np.float32),
            category_ids=raw.labels[kept].astype(np.int64),
            masks=masks,
            proposals=_proposals(raw, image) if options.proposals else None,
        )


class _Process:
    """A process that runs the framework's code, one image at a time."""

    def __init__(self, load: Load, job: Job) -> None:
        """Raises InvalidModel if the process does not start."""
        # The other engines need no such process.
        from maskrcnn_workers.worker import Worker

        self._worker = Worker("original code", _work, load, job, log_level=logging.DEBUG)
        try:
            self._receive(START_S)
        except BaseException:
            self.close()
            raise

    def run(self, image: Image, *, features: bool) -> Raw:
        """Raw results for an image. Raises BackendFailed if the code fails."""
        try:
            self._worker.connection.send((image, features))
            raw: Raw = self._receive(REPLY_S)
        except OSError:
            raise BackendFailed(self._exit_report()) from None
        except InvalidModel as error:
            raise BackendFailed(error.message) from None
        return raw

    def close(self) -> None:
        """End the process. May be called twice."""
        self._worker.close()

    def _receive(self, timeout_s: float) -> Any:
        connection = self._worker.connection
        if not connection.poll(timeout_s):
            raise InvalidModel(
                f"the original code did not reply within {timeout_s} seconds{self._output_tail()}"
            )
        try:
            is_fine, reply = connection.recv()
        except (EOFError, OSError):
            raise InvalidModel(self._exit_report()) from None
        if not is_fine:
            raise InvalidModel(f"the original code failed: {reply}{self._output_tail()}")
        return reply

    def _exit_report(self) -> str:
        return f"the process of the original code {self._worker.obituary()}{self._output_tail()}"

    def _output_tail(self) -> str:
        """The last lines that the process printed."""
        # Unless the process has ended, its output may still be on its way.
        self._worker.ended.wait(OUTPUT_S)
        lines = [line for line in self._worker.lines if NOISE.match(line) is None]
        return "".join(f"\n    {line[:MAX_LINE_LENGTH]}" for line in lines[-MAX_LINES:])


def set_key(config: Any, key: str, value: Any) -> None:
    """Set a dotted key of the framework's configuration, which is a tree of attributes."""
    *parents, leaf = key.split(".")
    for parent in parents:
        config = getattr(config, parent)
    setattr(config, leaf, value)


def tensor(graph: Any, name: str) -> Any:
    """A tensor of the framework's graph. Raises KeyError if there is none of that name."""
    try:
        return graph.get_tensor_by_name(f"{name}:0")
    except KeyError:
        raise KeyError(
            f"the graph has no tensor {name}: check the version of the checkout"
        ) from None


def _work(connection: Connection, load: Load, job: Job) -> None:
    """Main function of the process: load once, then reply until the connection closes."""
    os.environ |= {"TF_USE_LEGACY_KERAS": "1", "TF_CPP_MIN_LOG_LEVEL": "2", **job.environment}
    os.environ.pop("TF_ONEDNN_ASSUME_FROZEN_WEIGHTS", None)
    # Without oneDNN, TensorFlow cannot pool channels-first on a CPU.
    os.environ["TF_ENABLE_ONEDNN_OPTS"] = "1"
    sys.path.insert(0, str(job.checkout))
    try:
        code = load(job)
    # The framework's code may raise anything.
    except (Exception, SystemExit) as error:
        connection.send((False, f"{type(error).__name__}: {error}"))
        return
    connection.send((True, None))
    while True:
        try:
            image, features = connection.recv()
        except (EOFError, OSError):
            return
        try:
            connection.send((True, code.run(image, features)))
        except (Exception, SystemExit) as error:
            connection.send((False, f"{type(error).__name__}: {error}"))


def _proposals(raw: Raw, image: Image) -> Proposals:
    scale = np.sqrt(raw.resized.shape[0] / image.shape[0] * raw.resized.shape[1] / image.shape[1])
    height, width = image.shape[:2]
    limits = np.array([width, height, width, height], np.float32)
    return Proposals(
        boxes=np.clip(raw.proposals / scale, 0, limits).astype(np.float32),
        scores=1 - raw.class_scores[:, 0],
        class_scores=raw.class_scores,
    )


def _threads(count: int) -> dict[str, str]:
    """Environment variables that limit the threads of TensorFlow and OpenMP."""
    names = "OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS"
    return dict.fromkeys(names, str(count))


def _commit(checkout: Path) -> str:
    """The commit that is checked out, or `unknown`."""
    command = ["git", "-C", str(checkout), "describe", "--always", "--dirty", "--abbrev=40"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=10)
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    return done.stdout.strip()


def _digest(checkout: Path) -> str:
    """SHA-256 of all Python files in `checkout`, including their names."""
    digest = hashlib.sha256()
    for path in sorted(checkout.rglob("*.py")):
        digest.update(f"{path.relative_to(checkout)}\0".encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _is_installed(wanted: Requirement) -> bool:
    try:
        return wanted.specifier.contains(version(wanted.name))
    except PackageNotFoundError:
        return False

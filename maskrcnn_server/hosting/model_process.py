"""A process with a model in it: what it is asked, what it answers, and what it may take."""

import contextlib
import os
import threading
import traceback
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, fields
from functools import lru_cache
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from typing import Any

from maskrcnn_server import errors
from maskrcnn_server.backend import (
    Batches,
    Image,
    Model,
    ModelLost,
    ModelMetadata,
    PredictOptions,
)
from maskrcnn_server.categories import Category
from maskrcnn_server.detections import Detections
from maskrcnn_server.errors import (
    BackendCrashed,
    BackendFailed,
    BackendTimedOut,
    InvalidModel,
    MaskRCNNError,
    StartupError,
)
from maskrcnn_server.hosting.transfer import MAX_ANSWER, Pixels, pack, read_images, unpack
from maskrcnn_server.hosting.worker import Worker
from maskrcnn_server.rle import Size

SHAPE_S = 1.0
"""For the shape of an image in the network, which is arithmetic."""
SHAPES = 1024
"""Of images, that are remembered."""
KINDS = {
    kind.code: kind
    for kind in vars(errors).values()
    if isinstance(kind, type) and issubclass(kind, MaskRCNNError)
}
"""Errors by their codes."""


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What the process of a model may take."""

    load_s: float = 600
    """From its start until the model has run once."""
    predict_s: float = 300
    """For one call."""
    memory: int | None = None
    """Bytes. None: what there is."""


class ModelProcess:
    """A process with the model in it: it loads it once, and lives until it is closed or worse."""

    def __init__(self, load: Callable[[], Model], name: str, limits: Limits) -> None:
        self._limits = limits
        self._pixels = Pixels()
        self._calling, self._asking = threading.Lock(), threading.Lock()
        """Held while `_pixels` and the connection, or `_questions`, are used."""
        self._questions, theirs = Pipe()
        """Beside the calls, while one runs."""
        self._network_shape = lru_cache(SHAPES)(self._asked_shape)
        try:
            self.worker = Worker(
                name,
                serve,
                *(load, theirs.fileno(), self._pixels.file),
                files=(theirs.fileno(), self._pixels.file),
                memory_limit=limits.memory,
            )
        except BaseException:
            self._questions.close()
            self._pixels.close()
            raise
        finally:
            theirs.close()
        try:
            said = self._loaded(name)
            self.batch_pixels = int(said["batch_pixels"])
            self.metadata = _metadata(said["metadata"])
        except BaseException:
            self.close()
            raise

    def predict(self, images: Sequence[Image], options: PredictOptions) -> list[Detections]:
        sizes = [image.shape[:2] for image in images]
        was_ending = self.worker.is_ending
        question = pack({"sizes": sizes, "options": asdict(options)})
        try:
            with self._calling:
                self._pixels.write(images)
                self.worker.connection.send_bytes(question)
                answer = self._answer(self._limits.predict_s)
                self._pixels.release()
            header, found = unpack(answer)
        except (EOFError, OSError):
            self.worker.kill()
            message = f"the process of the model {self.worker.obituary()}"
            if self.worker.reason and not was_ending:
                raise BackendCrashed(message) from None
            raise ModelLost(message) from None
        except (ValueError, KeyError, TypeError) as error:
            raise BackendFailed("the process of the model gave no such answer") from error
        if "error" in header:
            raise _error(header["error"])
        return found

    def network_shape(self, size: Size) -> Size:
        try:
            return self._network_shape(size)
        # It died, or hangs: so the image is computed by itself.
        except (EOFError, OSError, ValueError):
            return self.batch_pixels + 1, 1

    def close(self) -> None:
        """End it. May be called twice."""
        # Who waits for an answer hears of it, and lets go of what is closed then.
        self.worker.kill("it was closed")
        with self._calling, self._asking:
            self.worker.close()
            self._questions.close()
            self._pixels.close()

    def _loaded(self, name: str) -> dict[str, Any]:
        try:
            header, _ = unpack(self._answer(self._limits.load_s))
        except BackendTimedOut as late:
            raise InvalidModel(f"model {name} was not loaded: {late.message}") from None
        except (EOFError, OSError):
            self.worker.kill()
            end = self.worker.obituary()
            said = "".join(f"\n    {line}" for line in self.worker.lines)
            raise InvalidModel(f"the process of model {name} {end}{said}") from None
        if "error" not in header:
            return header
        error = _error(header["error"])
        if isinstance(error, StartupError):
            raise error
        raise InvalidModel(header["error"]["message"]) from error.__cause__

    def _answer(self, timeout_s: float) -> bytes:
        """What the process says next. Raises EOFError or OSError if it is dead."""
        if not self.worker.connection.poll(timeout_s):
            late = f"it took longer than {timeout_s:g} s"
            self.worker.kill(late)
            raise BackendTimedOut(f"the process was ended: {late}")
        return self.worker.connection.recv_bytes(MAX_ANSWER)

    def _asked_shape(self, size: Size) -> Size:
        with self._asking:
            self._questions.send_bytes(pack({"size": size}))
            if not self._questions.poll(SHAPE_S):
                self._questions.close()
                raise OSError("no answer")
            header, _ = unpack(self._questions.recv_bytes(MAX_ANSWER))
            height, width = header["shape"]
            return int(height), int(width)


def serve(connection: Connection, load: Callable[[], Model], questions: int, pixels: int) -> None:
    """What the process does: load once, then answer until nobody asks any more."""
    try:
        model = load()
    # Whatever it is that a stranger's code raises.
    except (Exception, SystemExit) as error:
        connection.send_bytes(pack({"error": _described(error)}))
        return
    batches = model if isinstance(model, Batches) else None
    threading.Thread(target=_answer, args=(Connection(questions), batches), daemon=True).start()
    ready = {
        "metadata": _said(model.metadata),
        "batch_pixels": batches.batch_pixels if batches is not None else 0,
    }
    connection.send_bytes(pack(ready))
    with contextlib.suppress(EOFError, OSError):
        while True:
            connection.send_bytes(_predicted(model, connection.recv_bytes(), pixels))
    # Not by the ways of Python, which would wait for threads of the backend's.
    os._exit(0)


def _predicted(model: Model, question: bytes, pixels: int) -> bytes:
    asked, _ = unpack(question)
    try:
        images = read_images(pixels, asked["sizes"])
        return pack({}, model.predict(images, PredictOptions(**asked["options"])))
    except (Exception, SystemExit) as error:
        return pack({"error": _described(error)})


def _answer(questions: Connection, batches: Batches | None) -> None:
    """Say shapes of images in the network, until nobody asks any more."""
    with contextlib.suppress(EOFError, OSError):
        while True:
            asked, _ = unpack(questions.recv_bytes())
            height, width = asked["size"]
            shape = batches.network_shape((height, width)) if batches else (height, width)
            questions.send_bytes(pack({"shape": shape}))


class _Traceback(Exception):
    """Where something was raised in the process, for the log."""

    def __str__(self) -> str:
        return f"\n{self.args[0]}"


def _described(error: BaseException) -> dict[str, Any]:
    """An error, so that `_error` makes the same of it."""
    codes = (kind.code for kind in type(error).__mro__ if kind in KINDS.values())  # type: ignore[attr-defined]
    ours = isinstance(error, MaskRCNNError)
    return {
        "code": next(codes, None),
        "message": str(error) if ours else f"{type(error).__name__}: {error}",
        "detail": error.detail if isinstance(error, MaskRCNNError) else {},
        "traceback": "".join(traceback.format_exception(error)),
    }


def _error(described: dict[str, Any]) -> MaskRCNNError:
    kind = KINDS.get(described["code"])
    if kind is None:
        error: MaskRCNNError = BackendFailed("the backend failed on this request")
        error.__cause__ = _Traceback(described["traceback"])
        return error
    return kind(described["message"], **described["detail"])


def _said(metadata: ModelMetadata) -> dict[str, Any]:
    """Metadata, so that `_metadata` makes the same of it."""
    said = {field.name: getattr(metadata, field.name) for field in fields(metadata)}
    categories = [asdict(category) for category in metadata.categories]
    return said | {"facts": dict(metadata.facts), "categories": categories}


def _metadata(said: dict[str, Any]) -> ModelMetadata:
    categories = tuple(Category(**category) for category in said.pop("categories"))
    return ModelMetadata(**said, categories=categories)

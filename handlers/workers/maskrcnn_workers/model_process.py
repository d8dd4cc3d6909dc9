"""A process with a model in it: its messages and its limits."""

from __future__ import annotations

import contextlib
import os
import threading
import traceback
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, fields
from functools import lru_cache
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING, Any

from maskrcnn_server.backend import Batches, ModelLost, ModelMetadata, PredictOptions
from maskrcnn_server.categories import Category
from maskrcnn_server.errors import (
    ERROR_CLASSES,
    BackendCrashed,
    BackendFailed,
    BackendTimedOut,
    InvalidModel,
    MaskRCNNError,
    StartupError,
)
from maskrcnn_workers.transfer import MAX_MESSAGE, Pixels, pack, read_images, unpack
from maskrcnn_workers.worker import Worker

if TYPE_CHECKING:
    from maskrcnn_server.backend import Image, Model
    from maskrcnn_server.detections import Detections
    from maskrcnn_server.rle import Size

SHAPE_TIMEOUT_S = 1.0
"""Time limit, in seconds, for the network shape of an image, which is arithmetic."""
MAX_SHAPES = 1024
"""Number of image sizes whose network shapes are cached."""


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Limits of the process of a model."""

    load_s: float = 600
    """Seconds from the start of the process until the model has run once."""
    predict_s: float = 300
    """Seconds for one call."""
    memory: int | None = None
    """Memory in bytes. None: unlimited."""


class ModelProcess:
    """A process that loads the model once and computes until it is closed or ends."""

    def __init__(self, load: Callable[[], Model], name: str, limits: Limits) -> None:
        self._limits = limits
        self._pixels = Pixels()
        self._call_lock, self._shape_lock = threading.Lock(), threading.Lock()
        """Locks of `_pixels` with the connection, and of `_shape_requests`."""
        self._shape_requests, theirs = Pipe()
        """Second connection, for network shapes while a call runs."""
        self._network_shape = lru_cache(MAX_SHAPES)(self._request_shape)
        try:
            self.worker = Worker(
                name,
                serve,
                *(load, theirs.fileno(), self._pixels.file),
                files=(theirs.fileno(), self._pixels.file),
                memory_limit=limits.memory,
            )
        except BaseException:
            self._shape_requests.close()
            self._pixels.close()
            raise
        finally:
            theirs.close()
        try:
            loaded = self._loaded(name)
            self.batch_pixels = int(loaded["batch_pixels"])
            self.metadata = _metadata(loaded["metadata"])
        except BaseException:
            self.close()
            raise

    def predict(self, images: Sequence[Image], options: PredictOptions) -> list[Detections]:
        sizes = [image.shape[:2] for image in images]
        was_ending = self.worker.is_ending
        message = pack({"sizes": sizes, "options": asdict(options)})
        try:
            with self._call_lock:
                self._pixels.write(images)
                self.worker.connection.send_bytes(message)
                reply = self._receive(self._limits.predict_s)
                self._pixels.release()
            header, found = unpack(reply)
        except (EOFError, OSError):
            self.worker.kill()
            ended = f"the process of the model {self.worker.obituary()}"
            if self.worker.reason and not was_ending:
                raise BackendCrashed(ended) from None
            raise ModelLost(ended) from None
        except (ValueError, KeyError, TypeError) as error:
            raise BackendFailed("the process of the model sent an invalid message") from error
        if "error" in header:
            raise _error(header["error"])
        return found

    def network_shape(self, size: Size) -> Size:
        try:
            return self._network_shape(size)
        # The process is dead or hangs: compute the image by itself.
        except (EOFError, OSError, ValueError):
            return self.batch_pixels + 1, 1

    def close(self) -> None:
        """End the process. May be called twice."""
        # Waiting calls fail first and release what is closed next.
        self.worker.kill("it was closed")
        with self._call_lock, self._shape_lock:
            self.worker.close()
            self._shape_requests.close()
            self._pixels.close()

    def _loaded(self, name: str) -> dict[str, Any]:
        try:
            header, _ = unpack(self._receive(self._limits.load_s))
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

    def _receive(self, timeout_s: float) -> bytes:
        """The next message of the process. Raises EOFError or OSError if it is dead."""
        if not self.worker.connection.poll(timeout_s):
            reason = f"it took longer than {timeout_s:g} s"
            self.worker.kill(reason)
            raise BackendTimedOut(f"the process was killed: {reason}")
        return self.worker.connection.recv_bytes(MAX_MESSAGE)

    def _request_shape(self, size: Size) -> Size:
        with self._shape_lock:
            self._shape_requests.send_bytes(pack({"size": size}))
            if not self._shape_requests.poll(SHAPE_TIMEOUT_S):
                self._shape_requests.close()
                raise OSError("no reply")
            header, _ = unpack(self._shape_requests.recv_bytes(MAX_MESSAGE))
            height, width = header["shape"]
            return int(height), int(width)


def serve(
    connection: Connection, load: Callable[[], Model], shape_requests: int, pixels: int
) -> None:
    """Entry point of the process: load once, then serve calls until the connection closes."""
    try:
        model = load()
    # A third-party plugin may raise anything.
    except (Exception, SystemExit) as error:
        connection.send_bytes(pack({"error": _serialised_error(error)}))
        return
    batches = model if isinstance(model, Batches) else None
    threading.Thread(
        target=_serve_shapes, args=(Connection(shape_requests), batches), daemon=True
    ).start()
    ready = {
        "metadata": _serialised_metadata(model.metadata),
        "batch_pixels": batches.batch_pixels if batches is not None else 0,
    }
    connection.send_bytes(pack(ready))
    with contextlib.suppress(EOFError, OSError):
        while True:
            connection.send_bytes(_predict(model, connection.recv_bytes(), pixels))
    # A normal exit would wait for the backend's threads.
    os._exit(0)


def _predict(model: Model, message: bytes, pixels: int) -> bytes:
    call, _ = unpack(message)
    try:
        images = read_images(pixels, call["sizes"])
        return pack({}, model.predict(images, PredictOptions(**call["options"])))
    except (Exception, SystemExit) as error:
        return pack({"error": _serialised_error(error)})


def _serve_shapes(requests: Connection, batches: Batches | None) -> None:
    """Serve network shapes of images until the connection closes."""
    with contextlib.suppress(EOFError, OSError):
        while True:
            request, _ = unpack(requests.recv_bytes())
            height, width = request["size"]
            shape = batches.network_shape((height, width)) if batches else (height, width)
            requests.send_bytes(pack({"shape": shape}))


class _Traceback(Exception):
    """Traceback of an error in the process, for the log."""

    def __str__(self) -> str:
        return f"\n{self.args[0]}"


def _serialised_error(error: BaseException) -> dict[str, Any]:
    """Serialise an error; the reverse of `_error`."""
    codes = (kind.code for kind in type(error).__mro__ if kind in ERROR_CLASSES.values())  # type: ignore[attr-defined]
    ours = isinstance(error, MaskRCNNError)
    return {
        "code": next(codes, None),
        "message": str(error) if ours else f"{type(error).__name__}: {error}",
        "detail": error.detail if isinstance(error, MaskRCNNError) else {},
        "traceback": "".join(traceback.format_exception(error)),
    }


def _error(described: dict[str, Any]) -> MaskRCNNError:
    kind = ERROR_CLASSES.get(described["code"])
    if kind is None:
        error: MaskRCNNError = BackendFailed("the backend failed on this request")
        error.__cause__ = _Traceback(described["traceback"])
        return error
    return kind(described["message"], **described["detail"])


def _serialised_metadata(metadata: ModelMetadata) -> dict[str, Any]:
    """Serialise metadata; the reverse of `_metadata`."""
    said = {field.name: getattr(metadata, field.name) for field in fields(metadata)}
    categories = [asdict(category) for category in metadata.categories]
    return said | {"facts": dict(metadata.facts), "categories": categories}


def _metadata(said: dict[str, Any]) -> ModelMetadata:
    categories = tuple(Category(**category) for category in said.pop("categories"))
    return ModelMetadata(**said, categories=categories)

"""Several models in memory by name, as SageMaker's multi-model endpoints have them."""

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from maskrcnn_server.engine import Engine
from maskrcnn_server.errors import (
    InsufficientMemory,
    ModelExists,
    ModelNotFound,
    ModelRefused,
    StartupError,
)

COPIES = 3
"""Of its weights that a model holds in memory while it is loaded: as read, folded, in the graph."""
ACTIVATIONS = 256 << 20
"""Bytes, about, that a model takes beside its weights."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Hosted:
    """A model that is loaded."""

    name: str
    url: str
    """Where it was loaded from."""
    engine: Engine
    memory: int
    """Bytes that it is estimated to take."""


class Models:
    """Models by name, each with an engine of its own, least recently used first.

    `load` makes an engine of a model folder. All together are estimated to take `memory_limit`
    bytes at most; a model that has no room makes some by unloading others if `evicts`, and is
    refused if not, as SageMaker expects, which then unloads what it chooses.
    """

    def __init__(
        self, load: Callable[[Path], Engine], root: Path, memory_limit: int, *, evicts: bool
    ) -> None:
        """Only models below `root` are loaded."""
        self._load = load
        self._root = root.resolve()
        self._memory_limit = memory_limit
        self._evicts = evicts
        self._hosted: dict[str, Hosted] = {}
        self._table = threading.Lock()
        self._loading = threading.Lock()

    def load(self, name: str, url: str) -> None:
        """Load the model at `url`, a folder, as `name`; one at a time.

        Raises ModelExists, InsufficientMemory, ModelRefused.
        """
        folder = self._folder(url)
        with self._loading:
            with self._table:
                if name in self._hosted:
                    raise ModelExists(f"model {name} is loaded already", model_name=name)
            memory = _estimated(folder)
            self._make_room(memory)
            try:
                engine = self._load(folder)
            except StartupError as error:
                raise ModelRefused(error.message, model_name=name) from error
            with self._table:
                self._hosted[name] = Hosted(name, url, engine, memory)
        logger.info("loaded model %s, about %d MB", name, memory >> 20)

    def unload(self, name: str) -> None:
        """Forget a model, and free it when the request that runs is answered.

        Raises ModelNotFound.
        """
        with self._table:
            hosted = self._hosted.pop(name, None)
        if hosted is None:
            raise _absent(name)
        hosted.engine.close()
        logger.info("unloaded model %s", name)

    def engine(self, name: str) -> Engine:
        """The engine of a model, which is the most recently used from now on.

        Raises ModelNotFound.
        """
        with self._table:
            hosted = self._hosted.pop(name, None)
            if hosted is None:
                raise _absent(name)
            self._hosted[name] = hosted
            return hosted.engine

    def hosted(self) -> list[Hosted]:
        """What is loaded, least recently used first."""
        with self._table:
            return list(self._hosted.values())

    def refuse_waiting(self) -> None:
        """Start no more requests; those that run go on."""
        for hosted in self.hosted():
            hosted.engine.refuse_waiting()

    def close(self, timeout_s: float) -> bool:
        """Close every model after the request that runs; False if one took longer."""
        closed = [hosted.engine.close(timeout_s) for hosted in self.hosted()]
        return all(closed)

    def _folder(self, url: str) -> Path:
        folder = Path(url).resolve()
        if not folder.is_relative_to(self._root):
            raise ModelRefused(f"{url}: models are loaded from below {self._root} only")
        if not folder.is_dir():
            raise ModelRefused(f"{url}: no such folder")
        return folder

    def _make_room(self, memory: int) -> None:
        while (free := self._memory_limit - sum(h.memory for h in self.hosted())) < memory:
            hosted = self.hosted()
            if not self._evicts or not hosted or memory > self._memory_limit:
                raise InsufficientMemory(
                    f"the model needs about {memory >> 20} MB, and {max(0, free) >> 20} of "
                    f"{self._memory_limit >> 20} MB are free",
                    needed_mb=memory >> 20,
                    free_mb=max(0, free) >> 20,
                )
            self.unload(hosted[0].name)


def _estimated(folder: Path) -> int:
    files = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    return COPIES * files + ACTIVATIONS


def _absent(name: str) -> ModelNotFound:
    return ModelNotFound(f"no model {name} is loaded", model_name=name)

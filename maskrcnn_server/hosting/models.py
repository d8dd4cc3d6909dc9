"""The models of a server by name: one, those of a `models.yaml`, or those that SageMaker's
multi-model endpoints load and unload."""

import logging
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, TypeAlias

from maskrcnn_server.errors import (
    InsufficientMemory,
    MaskRCNNError,
    ModelExists,
    ModelFailed,
    ModelNotFound,
    ModelRefused,
    NotReady,
    StartupError,
)
from maskrcnn_server.hosting.models_file import Spec
from maskrcnn_server.hosting.scheduler import Scheduler

COPIES = 3
"""Number of copies of the weights in memory while a model loads: as read, folded, in the graph."""
ACTIVATIONS = 256 << 20
"""Approximate number of bytes that a model takes besides its weights."""
PATIENCE_S = 600.0
"""Time limit, in seconds, for another model that loads first, and for requests before an unload."""

OpenSpec: TypeAlias = Callable[[Spec], tuple[Scheduler, Path]]
State: TypeAlias = Literal["loading", "ready", "restarting", "failed"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Hosted:
    """A model that is loaded, or is to be."""

    name: str
    url: str
    """Address that it is loaded from."""
    scheduler: Scheduler | None = None
    memory: int = 0
    """Bytes that it is estimated to take."""
    spec: Spec | None = None
    """None: it was loaded by a request."""
    reason: str = ""
    """Why it could not be loaded."""

    def ready(self) -> Scheduler:
        """Its scheduler. Raises NotReady while it is loading, ModelFailed if it could not be."""
        if self.scheduler is not None:
            return self.scheduler
        if not self.reason:
            raise NotReady(f"model {self.name} is loading")
        raise ModelFailed(
            f"model {self.name} could not be loaded: {self.reason}", model_name=self.name
        )

    def state(self) -> tuple[State, str]:
        """Its state, and the reason if it has failed."""
        if self.scheduler is None:
            return "failed" if self.reason else "loading", self.reason
        try:
            return "ready" if self.scheduler.is_up() else "restarting", ""
        except ModelFailed as error:
            return "failed", error.message


class Models:
    """Models by name, each with a scheduler of its own, least recently used first.

    `load` makes a scheduler of a model folder. All together are estimated to take `memory_limit`
    bytes at most; a model that has no room makes some by unloading others if `evicts`, and is
    refused if not, as SageMaker expects, which then unloads what it chooses.
    """

    def __init__(
        self, load: Callable[[Path], Scheduler], root: Path, memory_limit: int, *, evicts: bool
    ) -> None:
        """Only models below `root` are loaded."""
        self.is_single = False
        """Whether there is one model, and never another."""
        self._load = load
        self._root = root.resolve()
        self._memory_limit = memory_limit
        self._evicts = evicts
        self._specs: dict[str, Spec] = {}
        self._load_spec: OpenSpec | None = None
        self._hosted: dict[str, Hosted] = {}
        self._table = threading.Lock()
        self._loading = threading.Lock()

    @classmethod
    def single(cls, scheduler: Scheduler | None = None) -> "Models":
        """One model: this one, or one that is loading and will be `put`."""
        models = cls(_loads_nothing, Path(), 0, evicts=False)
        models.is_single = True
        if scheduler is not None:
            models.put(scheduler)
        return models

    def put(self, scheduler: Scheduler) -> None:
        """Serve a model that is loaded, under the name that it has itself."""
        name = scheduler.metadata.name
        with self._table:
            self._hosted[name] = Hosted(name, "", scheduler)

    def open(self, specs: Sequence[Spec], load: OpenSpec) -> None:
        """Load these models; `load` makes a scheduler of one, and says which folder it is in.

        Those of this process are loaded one after the other, the isolated ones meanwhile. One that
        fails, or takes longer than it may, costs the others nothing. Raises StartupError if that
        is a required one, or all of them.
        """
        self._specs, self._load_spec = {spec.name: spec for spec in specs}, load
        with self._table:
            for spec in specs:
                self._hosted[spec.name] = Hosted(spec.name, spec.settings.address, spec=spec)
        threads = {
            spec.name: threading.Thread(
                target=self._open, args=(spec, load), name=f"load {spec.name}", daemon=True
            )
            for spec in specs
        }
        isolated = [spec for spec in specs if spec.settings.isolation == "process"]
        for spec in isolated:
            threads[spec.name].start()
        for spec in sorted(specs, key=isolated.__contains__):
            if spec not in isolated:
                threads[spec.name].start()
            threads[spec.name].join(spec.settings.load_timeout_s)
            if threads[spec.name].is_alive():
                self._fail(spec, f"it was not loaded within {spec.settings.load_timeout_s:g} s")
        hosted = {one.name: one for one in self.hosted()}
        failed = [spec for spec in specs if (one := hosted.get(spec.name)) and one.reason]
        if len(failed) == len(specs) or any(spec.required for spec in failed):
            reasons = "; ".join(f"{spec.name}: {hosted[spec.name].reason}" for spec in failed)
            raise StartupError(f"models that are needed could not be loaded: {reasons}")

    def load(self, name: str, url: str | None) -> Hosted:
        """Load the model at `url`, a folder, as `name`; one at a time. Without an address, load it
        as the `models.yaml` says, once more.

        Raises ModelExists, InsufficientMemory, ModelRefused, and NotReady if another one that is
        being loaded does not come to an end.
        """
        if not self._loading.acquire(timeout=PATIENCE_S):
            raise NotReady(f"another model has been loading for {PATIENCE_S:g} s")
        try:
            with self._table:
                if name in self._hosted and not self._hosted[name].reason:
                    raise ModelExists(f"model {name} is loaded already", model_name=name)
            try:
                hosted = self._loaded(name, url)
            except StartupError as error:
                raise ModelRefused(error.message, model_name=name) from error
            with self._table:
                self._hosted[name] = hosted
        finally:
            self._loading.release()
        logger.info("loaded model %s, about %d MB", name, hosted.memory >> 20)
        return hosted

    def unload(self, name: str) -> None:
        """Forget a model, and free it when the request that runs is answered.

        Raises ModelNotFound.
        """
        with self._table:
            hosted = self._hosted.pop(name, None)
        if hosted is None:
            raise self._absent(name)
        if hosted.scheduler is not None and not hosted.scheduler.close(
            PATIENCE_S, f"model {name} is being unloaded"
        ):
            logger.warning("model %s still computes; its memory is not freed", name)
        logger.info("unloaded model %s", name)

    def find(self, asked: str | None) -> Hosted:
        """The model of this name, which is the most recently used from now on. None: the default
        one, or the only one.

        Raises ModelNotFound, and NotReady while a single model is being loaded.
        """
        with self._table:
            if self.is_single and not self._hosted:
                raise NotReady("the model is loading")
            name = self._default() if asked is None else asked
            hosted = self._hosted.pop(name, None)
            if hosted is None:
                raise self._absent(name)
            self._hosted[name] = hosted
            return hosted

    def check(self) -> None:
        """Raise NotReady while models are being loaded for the first time, ModelFailed if a
        required one or every one fails, or one hangs."""
        states = [(one, *one.state()) for one in self.hosted()]
        if self.is_single and not states:
            raise NotReady("the model is loading")
        loading = [one.name for one, state, _ in states if state == "loading"]
        if loading:
            raise NotReady(f"loading {', '.join(loading)}")
        failed = [(one, reason) for one, state, reason in states if state == "failed"]
        grave = [
            (one, reason)
            for one, reason in failed
            if (one.spec is not None and one.spec.required)
            or (one.scheduler is not None and one.scheduler.hangs)
        ]
        if grave or (failed and len(failed) == len(states)):
            raise ModelFailed("; ".join(f"{one.name}: {why}" for one, why in grave or failed))

    def hosted(self) -> list[Hosted]:
        """Every model that is loaded or to be, least recently used first."""
        with self._table:
            return list(self._hosted.values())

    def schedulers(self) -> dict[str, Scheduler]:
        """Those of the models that are loaded, by name, least recently used first."""
        return {one.name: one.scheduler for one in self.hosted() if one.scheduler is not None}

    def refuse_waiting(self) -> None:
        """Start no more requests; those that run go on."""
        for scheduler in self.schedulers().values():
            scheduler.refuse_waiting()

    def close(self, timeout_s: float) -> bool:
        """Close every model after the request that runs; False if one took longer."""
        closed = [scheduler.close(timeout_s) for scheduler in self.schedulers().values()]
        return all(closed)

    def _open(self, spec: Spec, load: OpenSpec) -> None:
        try:
            scheduler, folder = load(spec)
            memory = _estimated(folder)
        except MaskRCNNError as error:
            self._fail(spec, error.message)
            return
        # Whatever it is that a stranger's code raises.
        except (Exception, SystemExit) as error:
            self._fail(spec, f"{type(error).__name__}: {error}")
            return
        with self._table:
            wanted = spec.name in self._hosted
            if wanted:
                self._hosted[spec.name] = Hosted(
                    spec.name, spec.settings.address, scheduler, memory, spec
                )
        if not wanted:
            scheduler.close()
            return
        logger.info("model %s is ready", spec.name)

    def _fail(self, spec: Spec, reason: str) -> None:
        with self._table:
            hosted = self._hosted.get(spec.name)
            if hosted is not None and hosted.scheduler is None:
                self._hosted[spec.name] = replace(hosted, reason=reason)
        logger.error("model %s cannot be served: %s", spec.name, reason)

    def _loaded(self, name: str, url: str | None) -> Hosted:
        if url is None:
            if name not in self._specs or self._load_spec is None:
                raise ModelRefused(
                    f"url: is missing, and no model {name} is in the models.yaml", model_name=name
                )
            spec = self._specs[name]
            scheduler, folder = self._load_spec(spec)
            return Hosted(name, spec.settings.address, scheduler, _estimated(folder), spec)
        folder = self._folder(url)
        memory = _estimated(folder)
        self._make_room(memory)
        return Hosted(name, url, self._load(folder), memory)

    def _default(self) -> str:
        """The model of requests that name none. While holding the table."""
        if len(self._hosted) == 1:
            return next(iter(self._hosted))
        marked = [one.name for one in self._hosted.values() if one.spec and one.spec.default]
        names = marked or list(self._hosted)
        if len(names) == 1:
            return names[0]
        raise ModelNotFound(
            f"{len(names)} models are loaded, and none is the default: name one"
            f"{_listed(self._hosted)}"
        )

    def _folder(self, url: str) -> Path:
        try:
            folder = Path(url).resolve()
            is_folder = folder.is_dir()
        # RuntimeError: symbolic links in a circle. ValueError: NUL.
        except (OSError, RuntimeError, ValueError):
            raise ModelRefused(f"{url[:256]!r}: no such folder") from None
        if not folder.is_relative_to(self._root):
            raise ModelRefused(f"{url[:256]!r}: models are loaded from below {self._root} only")
        if not is_folder:
            raise ModelRefused(f"{url[:256]!r}: no such folder")
        return folder

    def _make_room(self, memory: int) -> None:
        while (free := self._memory_limit - sum(h.memory for h in self.hosted())) < memory:
            dispensable = [one.name for one in self.hosted() if one.spec is None]
            if not self._evicts or not dispensable or memory > self._memory_limit:
                raise InsufficientMemory(
                    f"the model needs about {memory >> 20} MB, and {max(0, free) >> 20} of "
                    f"{self._memory_limit >> 20} MB are free",
                    needed_mb=memory >> 20,
                    free_mb=max(0, free) >> 20,
                )
            self.unload(dispensable[0])

    def _absent(self, name: str) -> ModelNotFound:
        return ModelNotFound(f"no model {name} is loaded{_listed(self._hosted)}", model_name=name)


def _loads_nothing(folder: Path) -> Scheduler:
    raise ModelRefused(f"{folder}: this server serves one model")


def _listed(names: Sequence[str] | dict[str, Hosted]) -> str:
    """Some of the models there are, for who named none of them."""
    shown = sorted(names)[:8]
    more = ", ..." if len(names) > len(shown) else ""
    return f" (there are: {', '.join(shown)}{more})" if shown else ""


def _estimated(folder: Path) -> int:
    files = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    return COPIES * files + ACTIVATIONS

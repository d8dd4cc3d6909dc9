"""From settings to a model that is ready to serve."""

import logging
import time
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from maskrcnn_server.backend import Backend, Model, PredictOptions, Probe
from maskrcnn_server.errors import BackendNotSelected, InvalidModel, StartupError
from maskrcnn_server.hosting.isolated import IsolatedModel
from maskrcnn_server.hosting.model_process import Limits
from maskrcnn_server.machine import give_back_memory
from maskrcnn_server.plugins import Plugins, installed, select_backend
from maskrcnn_server.settings import Settings, model_config
from maskrcnn_server.store.downloads import Progress, silent
from maskrcnn_server.store.model_store import ModelStore, locate

WARM_UP_SIZE = (480, 640)
LOGGED_BYTES = 64 << 20

logger = logging.getLogger(__name__)


def open_model(plugins: Plugins, settings: Settings, progress: Progress = silent) -> Model:
    """Find the model, choose its backend, load it, and run it once.

    Raises StartupError.
    """
    settings = fetched(plugins, settings, progress)
    return load_model(choose_backend(plugins, settings), settings)


def fetched(plugins: Plugins, settings: Settings, progress: Progress = silent) -> Settings:
    """`settings` with the model as a folder on this machine.

    Raises DownloadFailed or InvalidModel.
    """
    store = model_store(plugins, settings, progress)
    backends = plugins.backends().values()

    def recognised(folder: Path) -> bool:
        here = settings.model_copy(update={"model": str(folder)})
        return any(probe(backend, here) is not None for backend in backends)

    folder = locate(store.resolve(settings.model), recognised)
    if not folder.is_dir():
        raise InvalidModel(f"{folder}: no such folder")
    return settings.model_copy(update={"model": str(folder)})


def model_store(plugins: Plugins, settings: Settings, progress: Progress = silent) -> ModelStore:
    """The store that the settings describe, with every plugin's zoo."""
    return ModelStore(
        cache=settings.cache.expanduser(),
        zoo=plugins.zoo(),
        zoo_url=settings.zoo_url,
        progress=progress,
    )


def choose_backend(plugins: Plugins, settings: Settings) -> Backend:
    """The backend that the settings name, or the one that fits the model folder.

    Raises BackendNotSelected.
    """
    backends = plugins.backends()
    for broken in plugins.broken:
        logger.warning(
            "plugin %s of %s is broken: %s", broken.name, broken.distribution, broken.reason
        )

    problems: list[str] = []

    def accepts(backend: Backend) -> bool:
        found = probe(backend, settings)
        if found is not None:
            problems.extend(f"{backend.name}: {problem}" for problem in found.problems)
        return found is not None and not found.problems

    try:
        return select_backend(backends, settings.backend, accepts)
    except BackendNotSelected as error:
        folder = Path(settings.model)
        held = ", ".join(sorted(p.name for p in folder.iterdir())[:8]) or "nothing"
        where = f"{folder} (it holds: {held})"
        raise BackendNotSelected(f"{where}: {'; '.join([error.message, *problems])}") from None


def probe(backend: Backend, settings: Settings) -> Probe | None:
    """What the backend says of the model folder; that it failed, if it raised anything."""
    try:
        return backend.probe(model_config(settings, backend.name))
    except (Exception, SystemExit) as error:
        reason = f"backend {backend.name} failed to probe: {type(error).__name__}: {error}"
        logger.warning(reason)
        logger.debug("this is where", exc_info=True)
        return Probe(facts={}, problems=[reason])


def load_model(backend: Backend, settings: Settings) -> Model:
    """Load the model and run it once, so that the first request does not wait for compilation.

    Raises InvalidModel or InvalidSetting, also for whatever else the backend raised.
    """
    start = time.monotonic()
    try:
        model = backend.load(replace(model_config(settings, backend.name), dedicated=True))
        loaded = time.monotonic()
        try:
            warm_up(model)
            give_back_memory()
        except BaseException:
            model.close()
            raise
    except StartupError:
        raise
    # A stranger's plugin may raise anything, SystemExit included.
    except (Exception, SystemExit) as error:
        raise InvalidModel(
            f"backend {backend.name} failed to load {settings.model}: "
            f"{type(error).__name__}: {error}"
        ) from error
    for name, value in model.metadata.facts.items():
        logger.info("%s: %s", name, value)
    logger.info(
        "loaded %s in %.1f s, warmed up in %.1f s",
        model.metadata.name,
        loaded - start,
        time.monotonic() - loaded,
    )
    return model


def isolated_model(backend: Backend, settings: Settings, name: str) -> IsolatedModel:
    """Load the model and run it once in a process of its own. Raises as `load_model` does."""
    limit = settings.memory_limit_mb
    limits = Limits(
        load_s=settings.load_timeout_s,
        predict_s=settings.predict_timeout_s,
        memory=None if limit is None else limit << 20,
    )
    load = partial(load_installed, backend.name, settings)
    return IsolatedModel(load, name=name, limits=limits)


def load_installed(backend: str, settings: Settings) -> Model:
    """Load the model by the name of its backend: what the process of an isolated model does."""
    backends = installed().backends()
    return load_model(select_backend(backends, backend, lambda _: False), settings)


def log_progress(name: str, done: int, total: int | None) -> None:
    """Log how far a download has come, every 64 MiB."""
    if done // LOGGED_BYTES != (done - 1) // LOGGED_BYTES or done == total:
        logger.info("%s: %d of %s bytes", name, done, total or "unknown")


def warm_up(model: Model) -> None:
    """One inference with everything in it: detections at any score, and their masks."""
    image = np.random.RandomState(0).randint(0, 256, (*WARM_UP_SIZE, 3), np.uint8)
    (found,) = model.predict([image], PredictOptions(score_threshold=0.0))
    if found.masks is not None:
        found.masks.rle("rows")

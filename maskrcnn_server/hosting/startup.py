"""Loading models, in this process or in one of their own."""

import logging
import time
from dataclasses import replace
from functools import partial

import numpy as np

from maskrcnn_server.backend import Backend, Model, ModelConfig, PredictOptions
from maskrcnn_server.engine import AUTO
from maskrcnn_server.errors import InvalidModel, StartupError
from maskrcnn_server.hosting.isolated import IsolatedModel
from maskrcnn_server.hosting.located import Located, choose_backend, locate
from maskrcnn_server.hosting.model_process import Limits
from maskrcnn_server.machine import give_back_memory
from maskrcnn_server.plugins import Plugins, installed, select_backend
from maskrcnn_server.settings import Settings, expects_gpu
from maskrcnn_server.store.downloads import Progress, silent

WARM_UP_SIZE = (480, 640)
LOGGED_BYTES = 64 << 20
"""Number of bytes after which a download's progress is logged again."""

logger = logging.getLogger(__name__)


def open_model(plugins: Plugins, settings: Settings, progress: Progress = silent) -> Model:
    """Find the server's own model, choose its backend, load it, and run it once.

    Raises StartupError.
    """
    located = locate(plugins, settings.model, settings, progress)
    backend = choose_backend(plugins, located)
    return load_model(backend, located.config(backend.name))


def load_model(backend: Backend, config: ModelConfig) -> Model:
    """Load the model and run it once, so that the first request does not wait for compilation.

    Raises InvalidModel or InvalidSetting, also for whatever else the backend raised.
    """
    start = time.monotonic()
    try:
        model = backend.load(replace(config, dedicated=True))
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
            f"backend {backend.name} failed to load {config.model_dir}: "
            f"{type(error).__name__}: {error}"
        ) from error
    for name, value in model.metadata.facts.items():
        logger.info("%s: %s", name, value)
    warn_of_idle_gpu(model, config)
    logger.info(
        "loaded %s in %.1f s, warmed up in %.1f s",
        model.metadata.name,
        loaded - start,
        time.monotonic() - loaded,
    )
    return model


def warn_of_idle_gpu(model: Model, config: ModelConfig) -> None:
    """Log a warning if the container is meant for a GPU, and the CPU computes unasked."""
    facts = model.metadata.facts
    if expects_gpu() and config.device == AUTO and facts.get("device") == "cpu":
        logger.warning(
            "NO GPU IS USED: this container expects one (NVIDIA_VISIBLE_DEVICES), but engine %s "
            "computes on the CPU, many times slower: %s. MASKRCNN_DEVICE=cuda makes this an error, "
            "MASKRCNN_DEVICE=cpu says that it is intended",
            facts.get("engine"),
            facts.get("engine chosen"),
        )


def isolated_model(backend: Backend, model: Located, name: str) -> IsolatedModel:
    """Load the model and run it once in a process of its own. Raises as `load_model` does."""
    settings = model.settings
    limit = settings.memory_limit_mb
    limits = Limits(
        load_s=settings.load_timeout_s,
        predict_s=settings.predict_timeout_s,
        memory=None if limit is None else limit << 20,
    )
    load = partial(load_installed, backend.name, model.config(backend.name))
    return IsolatedModel(load, name=name, limits=limits)


def load_installed(backend: str, config: ModelConfig) -> Model:
    """Load the model by the name of its backend: what the process of an isolated model does."""
    return load_model(select_backend(installed().backends(), backend, lambda _: False), config)


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

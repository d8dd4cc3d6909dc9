"""Loading models, in this process or in one of their own."""

from __future__ import annotations

import logging
import time
import traceback
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from maskrcnn_server.backend import Batches, PredictOptions
from maskrcnn_server.detections import Detections
from maskrcnn_server.engine import AUTO, ORIGINAL, Computes
from maskrcnn_server.errors import (
    InvalidModel,
    InvalidSetting,
    PluginError,
    StartupError,
    WarmUpFailed,
)
from maskrcnn_server.hosting.located import choose_backend, locate
from maskrcnn_server.keys import check_keys
from maskrcnn_server.machine import give_back_memory
from maskrcnn_server.optional import lacks
from maskrcnn_server.settings import expects_gpu, visible_gpus
from maskrcnn_server.store.downloads import silent

if TYPE_CHECKING:
    from maskrcnn_server.backend import Backend, Model, ModelConfig
    from maskrcnn_server.hosting.located import Located
    from maskrcnn_server.plugins import Plugins
    from maskrcnn_server.settings import Settings
    from maskrcnn_server.store.downloads import Progress

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

    Whether an engine computes as configured is found out first. Raises InvalidModel or
    InvalidSetting, InvalidModel also for whatever else `load` raised, and WarmUpFailed for what
    `predict` raised.
    """
    check_keys(backend, config)
    if isinstance(backend, Computes) and config.engine != ORIGINAL:
        backend.choice(config)
    start = time.monotonic()
    try:
        model = backend.load(replace(config, dedicated=True))
    except StartupError:
        raise
    # A stranger's plugin may raise anything, SystemExit included.
    except (Exception, SystemExit) as error:
        raise InvalidModel(
            f"backend {backend.name} failed to load {config.model_dir}: {_told(error)}"
        ) from error
    lacking = [name for name in ("metadata", "predict", "close") if not hasattr(model, name)]
    if lacking:
        raise PluginError(
            f"backend {backend.name}: its {type(model).__name__} has no {' and no '.join(lacking)}"
        )
    loaded = time.monotonic()
    try:
        warm_up(model)
        give_back_memory()
    except StartupError:
        model.close()
        raise
    except (Exception, SystemExit) as error:
        model.close()
        raise WarmUpFailed(
            f"backend {backend.name} loaded {config.model_dir}, but failed to predict: "
            f"{_told(error)}"
        ) from error
    except BaseException:
        model.close()
        raise
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


def place(plugins: Plugins, backend: Backend, model: Located, name: str) -> tuple[Model, bool]:
    """Load the model where its settings say, and run it once; also whether it is isolated.

    A model is isolated with `isolation: process`, and with several devices. Raises as `load_model`
    does, and InvalidSetting if that needs maskrcnn-workers.
    """
    settings, gpus = model.settings, visible_gpus()
    needed = settings.isolation != "none" or "," in settings.device
    several = gpus > 1 and settings.device in (AUTO, "cuda") and isinstance(backend, Computes)
    if needed or (several and settings.engine != ORIGINAL):
        hosting = plugins.hosting().get("process")
        if hosting is None:
            broken = f"maskrcnn-workers is broken: {', '.join(map(str, plugins.broken))}"
            reason = lacks("maskrcnn_workers", "maskrcnn-workers") or broken
            if needed or settings.device != AUTO:
                raise InvalidSetting(f"a model in a process of its own: {reason}")
            logger.warning("of %d GPUs, one at most is used: %s", gpus, reason)
        elif (loaded := hosting.load(backend, model, name)) is not None:
            return loaded, True
    return load_model(backend, model.config(backend.name)), False


def log_progress(name: str, done: int, total: int | None) -> None:
    """Log how far a download has come, every 64 MiB."""
    if done // LOGGED_BYTES != (done - 1) // LOGGED_BYTES or done == total:
        logger.info("%s: %d of %s bytes", name, done, total or "unknown")


def warm_up(model: Model) -> None:
    """One inference with everything in it: detections at any score, and their masks.

    Raises ValueError if the model does not keep its promises.
    """
    image = np.random.RandomState(0).randint(0, 256, (*WARM_UP_SIZE, 3), np.uint8)
    answers = model.predict([image], PredictOptions(score_threshold=0.0))
    if not isinstance(answers, list) or len(answers) != 1:
        given = f"{len(answers)}" if isinstance(answers, list) else f"a {type(answers).__name__}"
        raise ValueError(f"for a list of 1 image, a list of 1 Detections is right: got {given}")
    if isinstance(model, Batches) and len(shape := model.network_shape(WARM_UP_SIZE)) != 2:
        raise ValueError(f"network_shape is (height, width): got {shape}")
    found = answers[0]
    if not isinstance(found, Detections):
        raise ValueError(f"a list of Detections is right: got one of {type(found).__name__}")
    if found.size != WARM_UP_SIZE:
        raise ValueError(f"detections have the image's size, {WARM_UP_SIZE}: got {found.size}")
    if found.masks is not None:
        found.masks.rle("rows")


def _told(error: BaseException) -> str:
    """The error in words, and its place; the traceback goes to the log, if that is to be long."""
    logger.info("traceback of the backend's error", exc_info=error)
    steps = traceback.extract_tb(error.__traceback__)
    where = f" ({steps[-1].filename}, line {steps[-1].lineno})" if len(steps) > 1 else ""
    return f"{type(error).__name__}: {error}{where}"

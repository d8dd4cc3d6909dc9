"""Loading models, in this process or in one of their own."""

from __future__ import annotations

import logging
import time
import traceback
from dataclasses import replace
from functools import partial
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
from maskrcnn_server.hosting.isolated import IsolatedModel
from maskrcnn_server.hosting.located import choose_backend, locate
from maskrcnn_server.hosting.model_process import Limits
from maskrcnn_server.hosting.worker import Worker
from maskrcnn_server.hosting.workers import Workers
from maskrcnn_server.keys import check_keys
from maskrcnn_server.machine import available_cpus, give_back_memory
from maskrcnn_server.plugins import installed, select_backend
from maskrcnn_server.settings import expects_gpu, visible_gpus
from maskrcnn_server.store.downloads import silent

if TYPE_CHECKING:
    from collections.abc import Sequence
    from multiprocessing.connection import Connection

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


def isolated_model(
    backend: Backend, model: Located, name: str, devices: Sequence[str]
) -> IsolatedModel | Workers:
    """Load the model and run it once in a process of its own for each of the devices, which share
    the CPUs. Raises as `load_model` does."""
    settings = model.settings
    limit = settings.memory_limit_mb
    limits = Limits(
        load_s=settings.load_timeout_s,
        predict_s=settings.predict_timeout_s,
        memory=None if limit is None else limit << 20,
    )
    config = model.config(backend.name)
    if len(devices) == 1:
        load = partial(load_installed, backend.name, config)
        return IsolatedModel(load, name=name, limits=limits)
    threads = config.threads or max(1, available_cpus() // len(devices))
    configs = [replace(config, device=device, threads=threads) for device in devices]
    starts = []
    for index, each in enumerate(configs):
        load = partial(load_installed, backend.name, each)
        starts.append(partial(IsolatedModel, load, name=f"{name}/{index}", limits=limits))
    return Workers(starts)


def devices(backend: Backend, model: Located) -> list[str]:
    """The devices that a model is to have, each with a process of its own if there are several.

    Whether an engine uses several GPUs is found out in a process, which ends and leaves none of
    their memory taken.
    """
    named, count = model.settings.device, visible_gpus()
    if named not in (AUTO, "cuda") or count < 2 or model.settings.engine == ORIGINAL:
        return named.split(",")
    worker = Worker("devices", _tell_devices, backend.name, model.config(backend.name), count)
    try:
        if worker.connection.poll(model.settings.load_timeout_s):
            return str(worker.connection.recv_bytes(), "ascii").split(",")
    except (EOFError, OSError):
        logger.warning("which GPUs there are is unknown: the process %s", worker.obituary())
    finally:
        worker.close()
    return [named]


def usable_devices(backend: Backend, config: ModelConfig, count: int) -> list[str]:
    """The first `count` GPUs, of them those that the engine of a model computes on if it computes
    on the first; otherwise what is configured."""
    if not isinstance(backend, Computes):
        return [config.device]
    try:
        choice = backend.choice(config)
    except InvalidSetting:  # loading says so
        return [config.device]
    if choice.device != "cuda:0":
        return [config.device]
    others = [f"cuda:{index}" for index in range(1, count)]
    lacks = {device: choice.engine.lacks(device, config.precision) for device in others}
    for device, lack in lacks.items():
        if lack is not None:
            logger.warning("%s is not used: %s", device, lack)
    return [choice.device, *(device for device, lack in lacks.items() if lack is None)]


def _tell_devices(connection: Connection, backend: str, config: ModelConfig, count: int) -> None:
    """Entry point of the process that finds out which GPUs are used."""
    chosen = select_backend(installed().backends(), backend, lambda _: False)
    connection.send_bytes(",".join(usable_devices(chosen, config, count)).encode())


def load_installed(backend: str, config: ModelConfig) -> Model:
    """Load the model by the name of its backend: what the process of an isolated model does."""
    return load_model(select_backend(installed().backends(), backend, lambda _: False), config)


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

"""Which processes a model has, and what each of them loads."""

from __future__ import annotations

import logging
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from maskrcnn_server.engine import AUTO, ORIGINAL, Computes
from maskrcnn_server.errors import InvalidSetting
from maskrcnn_server.hosting.startup import load_model
from maskrcnn_server.machine import available_cpus
from maskrcnn_server.plugins import installed, select_backend
from maskrcnn_server.settings import visible_gpus
from maskrcnn_workers.isolated import IsolatedModel
from maskrcnn_workers.model_process import Limits
from maskrcnn_workers.worker import Worker
from maskrcnn_workers.workers import Workers

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

    from maskrcnn_server.backend import Backend, Model, ModelConfig
    from maskrcnn_server.hosting.located import Located

logger = logging.getLogger(__name__)


def load(backend: Backend, model: Located, name: str) -> IsolatedModel | Workers | None:
    """Load the model and run it once in a process of its own for each of its devices, which share
    the CPUs. None: it has one device, and is not to be isolated.

    Raises as `load_model` does.
    """
    settings = model.settings
    chosen = devices(backend, model)
    if len(chosen) == 1 and settings.isolation == "none":
        return None
    limit = settings.memory_limit_mb
    limits = Limits(
        load_s=settings.load_timeout_s,
        predict_s=settings.predict_timeout_s,
        memory=None if limit is None else limit << 20,
    )
    config = model.config(backend.name)
    if len(chosen) == 1:
        return IsolatedModel(
            partial(load_installed, backend.name, config), name=name, limits=limits
        )
    threads = config.threads or max(1, available_cpus() // len(chosen))
    configs = [replace(config, device=device, threads=threads) for device in chosen]
    starts = []
    for index, each in enumerate(configs):
        start = partial(load_installed, backend.name, each)
        starts.append(partial(IsolatedModel, start, name=f"{name}/{index}", limits=limits))
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

"""A cluster to work on: one that runs, or one that is started on this machine."""

from __future__ import annotations

import logging
import socket
from contextlib import contextmanager
from typing import TYPE_CHECKING

import ray
from ray._private import services

from maskrcnn_ray.pool import Resources
from maskrcnn_server import settings as environment
from maskrcnn_server.errors import StartupError

if TYPE_CHECKING:
    from collections.abc import Iterator

AUTO = "auto"
"""Address of the cluster that this machine is part of, or else of one that is started here."""
CONNECT_S = 5
"""Time in which a cluster that runs takes a connection."""
OBJECT_STORE_BYTES = 128 << 20
"""Size of the object store of a cluster that is started here. Images are never in it."""


@contextmanager
def connected(address: str) -> Iterator[None]:
    """Connect to a cluster; its workers have this process's settings. Raises StartupError.

    They serve nobody, and Ray shows their environment: they do not get the API key.
    """
    without = {*environment.without_settings(), environment.API_KEY}
    own = {name: text for name, text in environment.inherited().items() if name not in without}
    try:
        ray.init(
            **_where(address),
            runtime_env={"env_vars": own} if own else None,
            logging_level=logging.ERROR,
            log_to_driver=False,
        )
    except (ConnectionError, RuntimeError, ValueError, OSError) as error:
        raise StartupError(f"--ray {address}: {error}") from error
    try:
        yield
    finally:
        ray.shutdown()


def _where(address: str) -> dict[str, object]:
    if address != AUTO:
        return {"address": address}
    try:
        running = services.get_ray_address_from_environment(AUTO, None)
    except ConnectionError:
        running = None
    if running and _answers(running):
        return {"address": running}
    # Else Ray tries the address that a cluster left behind when it was killed, for minutes.
    return {
        "address": "local",
        "object_store_memory": OBJECT_STORE_BYTES,
        "include_dashboard": False,
    }


def _answers(address: str) -> bool:
    host, _, port = address.rpartition(":")
    if "://" in address or not port.isdecimal():
        return True
    try:
        with socket.create_connection((host.strip("[]"), int(port)), CONNECT_S):
            return True
    except OSError:
        return False


def share(workers: int, cpus: float | None, gpus: float) -> Resources:
    """What each of so many workers asks for: as many CPUs as all of them find, at least one."""
    if cpus is not None:
        return Resources(cpus, gpus)
    largest = max((node["Resources"].get("CPU", 0) for node in ray.nodes()), default=1)
    total = ray.cluster_resources().get("CPU", 1)
    return Resources(max(1, int(min(largest, total / workers))), gpus)

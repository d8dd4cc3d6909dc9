"""Hooks of the server. A plugin implements any of them in the module that its entry point names."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from pluggy import HookimplMarker, HookspecMarker

if TYPE_CHECKING:
    from maskrcnn_server.backend import Backend, Demo, ZooModel
    from maskrcnn_server.engine import Engine
    from maskrcnn_server.extensions import Command, Hosting, Routes, Tracer
    from maskrcnn_server.formats import Format

PROJECT = "maskrcnn_server"
"""Name of the pluggy project and of the plugins' entry point group."""

API_VERSION = "1.1"
"""Version of the plugin interface, `major.minor`. A plugin states the version it was written for as
`api_version` next to its hooks; without it, 1.0 is assumed. docs/plugins.md says what may change in
a version."""

hookspec = HookspecMarker(PROJECT)
hookimpl = HookimplMarker(PROJECT)


@hookspec
def register_backends(register: Callable[[Backend], None]) -> None:
    """Called once at start-up: call `register` with each backend."""


@hookspec
def register_engines(register: Callable[[Engine], None]) -> None:
    """Called once before a model is loaded: call `register` with each engine."""


@hookspec
def register_hosting(register: Callable[[Hosting], None]) -> None:
    """Called once before a model is loaded outside the server's process: call `register` with a way
    to host it."""


@hookspec
def register_formats(register: Callable[[Format], None]) -> None:
    """Called once at start-up: call `register` with each response format."""


@hookspec
def register_commands(register: Callable[[Command], None]) -> None:
    """Called when the program starts: call `register` with each command."""


@hookspec
def register_routes(register: Callable[[Routes], None]) -> None:
    """Called once when an HTTP server starts: call `register` with each set of routes."""


@hookspec
def register_tracers(register: Callable[[Tracer], None]) -> None:
    """Called once when an HTTP server starts: call `register` with each tracer."""


@hookspec
def register_zoo(register: Callable[[ZooModel], None]) -> None:
    """Called when a model is requested by name: call `register` with each published model."""


@hookspec
def register_demos(register: Callable[[Demo], None]) -> None:
    """Called by `maskrcnn-server demo`, and once at start-up for the playground's samples: call
    `register` with each bundled model."""

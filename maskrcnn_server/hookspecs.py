"""The hooks of the server. A plugin implements any of them in the module its entry point names."""

from collections.abc import Callable

from pluggy import HookimplMarker, HookspecMarker

from maskrcnn_server.backend import Backend, Demo, ZooModel
from maskrcnn_server.engine import Engine
from maskrcnn_server.extensions import Command, Routes
from maskrcnn_server.formats import Format

PROJECT = "maskrcnn_server"
"""The name of pluggy's project, and of the entry point group that plugins declare."""

API_VERSION = "1.2"
"""Of what plugins are written against, `major.minor`: a plugin says by `api_version`, beside its
hooks, which it knows; one that says nothing knows the first, 1.0. See docs/plugins.md for what may
change in which."""

hookspec = HookspecMarker(PROJECT)
hookimpl = HookimplMarker(PROJECT)


@hookspec
def register_backends(register: Callable[[Backend], None]) -> None:
    """Called once at start-up: call `register` with each framework that can load models."""


@hookspec
def register_engines(register: Callable[[Engine], None]) -> None:
    """Called once, before a model is loaded: call `register` with each engine that can compute
    networks."""


@hookspec
def register_formats(register: Callable[[Format], None]) -> None:
    """Called once at start-up: call `register` with each way to write a response."""


@hookspec
def register_commands(register: Callable[[Command], None]) -> None:
    """Called when the program starts: call `register` with each command that you add to it."""


@hookspec
def register_routes(register: Callable[[Routes], None]) -> None:
    """Called once when an HTTP server starts: call `register` with the routes that you add to
    it."""


@hookspec
def register_zoo(register: Callable[[ZooModel], None]) -> None:
    """Called when models are looked for by name: call `register` with each that is published."""


@hookspec
def register_demos(register: Callable[[Demo], None]) -> None:
    """Called by `maskrcnn-server demo`, and once at start-up for the playground's samples: call
    `register` with each model you bring to try out."""

"""Additions of plugins to the program and to the server: commands, routes and tracers."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable


@dataclass(frozen=True)
class Command:
    """A command of the program `maskrcnn-server`."""

    name: str
    run: Callable[..., None]
    """Function that Typer calls: its parameters are the options, its docstring is the help text."""
    group: str = "Others"
    """Heading under which `--help` lists it."""
    examples: Sequence[str] = ()
    """Command lines that its `--help` shows."""


class Routes(Protocol):
    """Routes of the HTTP server."""

    @property
    def name(self) -> str:
        """Lower-case letters, digits, - and _."""

    def routes(self, host: Any, /) -> Sequence[Any]:
        """Starlette routes that answer for a server (`maskrcnn_handlers.http.host.Host`).

        Called once at start-up, before a model is loaded.
        """


class Tracer(Protocol):
    """A way to send spans of requests."""

    @property
    def name(self) -> str:
        """Lower-case letters, digits, - and _."""

    def open(self, settings: Any, /) -> Any:
        """Tracing (`maskrcnn_handlers.observe.tracing.Tracing`) of a server with these settings.

        Called once at start-up. None: they want no spans.
        """


@runtime_checkable
class HasAddresses(Protocol):
    """Optional property of a set of routes: addresses that the server prints when it is ready."""

    @property
    def addresses(self) -> Mapping[str, str]:
        """Paths, or whole addresses, by what they are for."""

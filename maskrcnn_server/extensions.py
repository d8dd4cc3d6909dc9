"""Additions of plugins to the program and to the server: commands, routes, tracers, hosting."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

if TYPE_CHECKING:
    from maskrcnn_server.backend import Backend, Model
    from maskrcnn_server.hosting.located import Located


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


class Hosting(Protocol):
    """A way to run models outside the server's process."""

    @property
    def name(self) -> str:
        """Value of the setting `isolation` that chooses it. Of several devices, `process` takes
        care, too."""

    def load(self, backend: Backend, model: Located, name: str, /) -> Model | None:
        """Load a model, and run it once. None: it has one device, and is not to be isolated.

        `name` is its name in the log and in errors. The model may be `Restarts` and `Parallel`.
        Raises StartupError.
        """


@runtime_checkable
class HasAddresses(Protocol):
    """Optional property of a set of routes: addresses that the server prints when it is ready."""

    @property
    def addresses(self) -> Mapping[str, str]:
        """Paths, or whole addresses, by what they are for."""

"""The hosting that the setting `isolation: process` and several devices choose."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from maskrcnn_server import hookimpl

if TYPE_CHECKING:
    from maskrcnn_server.backend import Backend, Model
    from maskrcnn_server.extensions import Hosting
    from maskrcnn_server.hosting.located import Located

api_version = "1.1"


class Processes:
    """Runs models in processes of their own."""

    name = "process"

    def load(self, backend: Backend, model: Located, name: str, /) -> Model | None:
        from maskrcnn_workers.processes import load

        return load(backend, model, name)


@hookimpl
def register_hosting(register: Callable[[Hosting], None]) -> None:
    """The one in processes."""
    register(Processes())

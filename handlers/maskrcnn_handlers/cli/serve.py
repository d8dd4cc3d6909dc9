"""`maskrcnn-server serve`"""

import logging
from typing import Annotated

import typer

from maskrcnn_handlers.cli.options import BackendName, ModelOption
from maskrcnn_handlers.observe import logs
from maskrcnn_server import settings as environment
from maskrcnn_server.plugins import installed

logger = logging.getLogger(__name__)


def serve(
    model: ModelOption = None,
    models: Annotated[
        str | None, typer.Option(help="File of several models (default: MASKRCNN_MODELS).")
    ] = None,
    backend: BackendName = None,
    host: Annotated[str | None, typer.Option(help="Address (default: MASKRCNN_HOST).")] = None,
    port: Annotated[int | None, typer.Option(help="Port (default: MASKRCNN_PORT).")] = None,
) -> None:
    """Serve a model, or several, over HTTP.

    Settings come from the environment; these options win over it.
    """
    from maskrcnn_handlers.http import server

    settings = environment.read(
        model=model, models_file=models, backend=backend, host=host, port=port
    )
    logs.set_up(settings)
    for name, reason in environment.ignored().items():
        logger.info("%s is set and has no effect: %s", name, reason)
    server.serve(installed(), settings)

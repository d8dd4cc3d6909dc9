"""`maskrcnn-server serve`"""

import logging
from typing import Annotated

import typer

from maskrcnn_handlers.cli.options import BackendName
from maskrcnn_handlers.observe import logs
from maskrcnn_server import settings as environment
from maskrcnn_server.errors import InvalidSetting
from maskrcnn_server.plugins import installed

logger = logging.getLogger(__name__)


def serve(
    address: Annotated[
        str | None,
        typer.Argument(
            metavar="MODEL",
            help="Folder, archive, address or zoo name (default: SM_MODEL_DIR).",
            show_default=False,
        ),
    ] = None,
    model: Annotated[str | None, typer.Option(help="The same as MODEL.")] = None,
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

    if address is not None and model not in (None, address):
        raise InvalidSetting(f"MODEL {address} and --model {model}: name one of them")
    settings = environment.read(
        model=address or model, models_file=models, backend=backend, host=host, port=port
    )
    logs.set_up(settings)
    for name, reason in environment.ignored().items():
        logger.info("%s is set and has no effect: %s", name, reason)
    server.serve(installed(), settings)

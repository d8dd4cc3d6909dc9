"""`maskrcnn-server serve`"""

import logging
from pathlib import Path
from typing import Annotated

import typer

from maskrcnn_server import settings as environment
from maskrcnn_server.plugins import Plugins

logger = logging.getLogger(__name__)

ModelDir = Annotated[
    Path | None,
    typer.Option("--model", help="Model folder (default: SM_MODEL_DIR, or /opt/ml/model)."),
]
BackendName = Annotated[
    str | None, typer.Option("--backend", help="Backend (default: MASKRCNN_BACKEND).")
]


def serve(
    model: ModelDir = None,
    backend: BackendName = None,
    host: Annotated[str | None, typer.Option(help="Address (default: MASKRCNN_HOST).")] = None,
    port: Annotated[int | None, typer.Option(help="Port (default: MASKRCNN_PORT).")] = None,
) -> None:
    """Serve a model over HTTP. Settings come from the environment; these options win over it."""
    from maskrcnn_handlers import server

    settings = environment.read(model_dir=model, backend=backend, host=host, port=port)
    logging.getLogger().setLevel(settings.log_level.upper())
    for name, reason in environment.ignored().items():
        logger.info("%s is set and has no effect: %s", name, reason)
    server.serve(Plugins(), settings)

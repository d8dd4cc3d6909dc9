"""`maskrcnn-server torchserve`"""

import logging
from typing import Annotated

import typer

from maskrcnn_handlers.cli.options import BackendName, ModelOption
from maskrcnn_handlers.observe import logs
from maskrcnn_server import settings as environment
from maskrcnn_server.plugins import installed

Port = Annotated[int | None, typer.Option(min=1, max=65535, help="On 127.0.0.1 (default: none).")]


def torchserve(
    model: ModelOption = None,
    backend: BackendName = None,
    host: Annotated[str | None, typer.Option(help="Address (default: MASKRCNN_HOST).")] = None,
    port: Annotated[int | None, typer.Option(help="Port (default: MASKRCNN_PORT).")] = None,
    batch_size: Annotated[
        int, typer.Option(min=1, max=1024, help="Requests that are answered together, at most.")
    ] = 1,
    batch_delay: Annotated[
        int, typer.Option(min=0, max=60_000, help="Milliseconds that a batch waits to fill.")
    ] = 20,
    management_port: Port = None,
    metrics_port: Port = None,
) -> None:
    """Serve a model with TorchServe as the front end. Needs Java 17."""
    from maskrcnn_torchserve import server
    from maskrcnn_torchserve.files import Options

    settings = environment.read(model=model, backend=backend, host=host, port=port)
    logs.set_up(settings)
    for name, reason in environment.ignored().items():
        logging.info("%s is set and has no effect: %s", name, reason)
    options = Options(
        batch_size=batch_size,
        batch_delay_ms=batch_delay,
        management_port=management_port,
        metrics_port=metrics_port,
    )
    server.serve(installed(), settings, options)

"""The native server: a process that loads a model in the background and serves it over HTTP."""

import logging
import signal
import threading
import time

import uvicorn

from maskrcnn_handlers.asgi import app
from maskrcnn_handlers.service import Service
from maskrcnn_server.engine import Engine
from maskrcnn_server.plugins import Plugins
from maskrcnn_server.settings import Settings
from maskrcnn_server.startup import choose_backend, load_model

SPARE_THREADS = 8
"""Beside the requests that may wait: to run one, and to refuse the others without delay."""

logger = logging.getLogger(__name__)


def serve(plugins: Plugins, settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT; then finish what is running, and return.

    Raises StartupError if the model cannot be loaded.
    """
    start = time.monotonic()
    service = Service(plugins.formats(), settings)
    backend = choose_backend(plugins, settings)
    server = uvicorn.Server(
        uvicorn.Config(
            app(service, settings.max_waiting + SPARE_THREADS),
            host=settings.host,
            port=settings.port,
            log_config=None,
            access_log=False,
            timeout_graceful_shutdown=settings.drain_timeout_s,
        )
    )
    engines: list[Engine] = []
    failures: list[Exception] = []

    def load() -> None:
        try:
            model = load_model(backend, settings)
        except Exception as error:
            failures.append(error)
            server.should_exit = True
        else:
            engine = Engine(model, max_waiting=settings.max_waiting, timeout_s=settings.timeout_s)
            engines.append(engine)
            service.start(engine)
            logger.info("ready after %.1f s", time.monotonic() - start)

    # uvicorn raises the signal again after its shutdown, to end as if it had none: ignore that one.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)
    threading.Thread(target=load, name="load", daemon=True).start()
    server.run()
    for engine in engines:
        engine.close()
    if failures:
        raise failures[0]

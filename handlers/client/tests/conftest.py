"""Fixtures of a server over a fake model, and of one that streams."""

import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest
import uvicorn
from server_fixtures import *  # noqa: F403

from maskrcnn_handlers.http.asgi import App
from maskrcnn_handlers.http.connections import Bounded, limits
from maskrcnn_handlers.http.host import Host
from maskrcnn_handlers.http.model_management import ModelManagement
from maskrcnn_handlers.service import Service
from maskrcnn_server import settings as environment
from maskrcnn_server.hosting.models import Models
from maskrcnn_server.hosting.scheduler import Scheduler
from maskrcnn_server.plugins import Plugins
from maskrcnn_streaming.routes import StreamedRoutes
from maskrcnn_tiles.answering import TileRequests

Serve = Callable[..., str]


@pytest.fixture
def serve(scheduler: Scheduler) -> Iterator[Serve]:
    """Starts a server that streams, with these settings, in a thread."""
    running: list[tuple[uvicorn.Server, threading.Thread]] = []

    def started(**given: Any) -> str:
        settings, formats = environment.read(**given), Plugins().formats()
        service = Service(formats, settings, Models.single(scheduler))
        host = Host(service, formats, Plugins(), settings)
        routes = [*TileRequests().routes(host), *StreamedRoutes().routes(host)]
        app = App(service, ModelManagement(service.models), 8, routes)
        bounded: Any = partial(Bounded, limits=limits(settings))
        config = uvicorn.Config(app.asgi, "127.0.0.1", 0, log_config=None, ws="none", http=bounded)
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run)
        thread.start()
        running.append((server, thread))
        while not server.started:
            assert thread.is_alive()
            time.sleep(0.01)
        return "http://{}:{}".format(*server.servers[0].sockets[0].getsockname())

    yield started
    for server, thread in running:
        server.should_exit = True
        thread.join()


@pytest.fixture
def streaming(serve: Serve) -> str:
    return serve()

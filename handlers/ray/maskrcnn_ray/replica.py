"""A replica of Ray Serve: this project's server without its port."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING

from maskrcnn_handlers.http.access import Access
from maskrcnn_handlers.http.asgi import App
from maskrcnn_handlers.http.host import Host
from maskrcnn_handlers.http.model_management import ModelManagement
from maskrcnn_handlers.http.server import SPARE_THREADS
from maskrcnn_handlers.observe import tracing
from maskrcnn_handlers.service import Service
from maskrcnn_ray.exchange import answered
from maskrcnn_server.errors import NotReady
from maskrcnn_server.hosting.models import Models
from maskrcnn_server.hosting.scheduler import Scheduler
from maskrcnn_server.hosting.startup import open_model
from maskrcnn_server.plugins import installed

if TYPE_CHECKING:
    from maskrcnn_predict.local import ModelSpec
    from maskrcnn_ray.exchange import Forwarded, Replied


class Replica:
    """A model, and the routes of the server that has one. Raises StartupError."""

    def __init__(self, spec: ModelSpec) -> None:
        settings, plugins = spec.settings(), installed()
        own = settings.model
        models = Models.single()
        self._service = Service(
            plugins.formats(), settings, models, tracing.opened(plugins, settings)
        )
        model = open_model(plugins, settings)
        limit_s = own.predict_timeout_s
        models.put(
            Scheduler(model, max_waiting=own.max_waiting, max_batch=own.max_batch, limit_s=limit_s)
        )
        host = Host(self._service, plugins.formats(), plugins, settings)
        routes = [route for each in plugins.routes().values() for route in each.routes(host)]
        threads = own.max_waiting + 1 + SPARE_THREADS
        management = ModelManagement(models, is_open=False)
        self._app = App(self._service, management, threads, routes, Access.of(settings))

    async def __call__(self, asked: Forwarded) -> Replied:
        """The reply to a request."""
        return await answered(self._app.asgi, asked)

    async def check_health(self) -> None:
        """Raise NotReady if health checks of the server fail; Ray Serve then replaces it."""
        if self._app.ping().status != 200:
            raise NotReady("the model does not answer")

    def pid(self) -> int:
        """Id of this process."""
        return os.getpid()

    async def __del__(self) -> None:
        # Ray Serve waits for the requests that run before.
        await asyncio.to_thread(self._service.close, timeout_s=1)

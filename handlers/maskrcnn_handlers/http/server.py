"""The native server: a process that loads a model in the background and serves it over HTTP."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urljoin

import uvicorn

from maskrcnn_handlers.http.access import Access
from maskrcnn_handlers.http.asgi import App
from maskrcnn_handlers.http.connections import MAX_HEADER_BYTES, Bounded, limits
from maskrcnn_handlers.http.host import Host
from maskrcnn_handlers.http.listeners import is_readable, refuse_new
from maskrcnn_handlers.http.model_management import ModelManagement
from maskrcnn_handlers.observe import tracing
from maskrcnn_handlers.service import Service
from maskrcnn_server.errors import StartupError
from maskrcnn_server.extensions import HasAddresses
from maskrcnn_server.hosting.located import choose_backend, locate
from maskrcnn_server.hosting.models import Models
from maskrcnn_server.hosting.models_file import read_models
from maskrcnn_server.hosting.scheduler import Scheduler
from maskrcnn_server.hosting.startup import log_progress, place
from maskrcnn_server.hosting.turns import TURN_S, Turns
from maskrcnn_server.machine import available_memory
from maskrcnn_server.settings import has_playground

if TYPE_CHECKING:
    from maskrcnn_server.hosting.models_file import Spec
    from maskrcnn_server.plugins import Plugins
    from maskrcnn_server.settings import ModelSettings, Settings

SPARE_THREADS = 8
"""Threads besides those of admitted requests, to refuse the others without delay."""
MEMORY_SHARE = 0.8
"""Share of the memory that the models of a multi-model server may take."""
LINGER_S = 1
"""Seconds, after the server stopped listening, for the first request of a connection to arrive."""
POLL_S = 0.02
"""Seconds between two looks at what is waited for."""
GRACE_S = 2
"""Seconds after the drain timeout in which the request that runs may finish; then it is answered
without its result."""

EVERY_ADDRESS = ("0.0.0.0", "::")  # noqa: S104 (recognised, not listened on)
"""Addresses that stand for all of a machine's."""

logger = logging.getLogger(__name__)


def serve(plugins: Plugins, settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT; then finish what is running, and return.

    Raises StartupError if the model cannot be loaded, or the port cannot be listened on.
    """
    formats = plugins.formats()
    file = settings.models_file
    specs = [] if file is None else read_models(file, settings.model)
    turns = Turns(min(TURN_S, settings.timeout_s / 4))
    several = specs or settings.multi_model
    models = _models(plugins, settings, turns) if several else Models.single()
    service = Service(formats, settings, models, tracing.opened(plugins, settings))

    def open_spec(spec: Spec) -> tuple[Scheduler, Path]:
        return _scheduler(plugins, spec.settings, settings, turns, spec.name)

    def load(ready: Callable[[], None]) -> None:
        if models.is_single:
            models.put(_scheduler(plugins, settings.model, settings)[0])
        elif specs:
            models.open(specs, open_spec)
        ready()

    management = ModelManagement(models, is_open=settings.multi_model)
    served = [spec.settings for spec in specs] or [settings.model]
    admitted = sum(model.max_waiting + 1 for model in served)
    host = Host(service, formats, plugins, settings)
    has_loaded = listen(host, management, admitted, load)
    if not (service.close(timeout_s=1) and has_loaded):
        what = "a request is still running" if has_loaded else "the model is still loading"
        logger.warning("%s; ending without it", what)
        logging.shutdown()
        # Python would wait for the thread of that request, and SageMaker kills after 30 s; a
        # framework that loads would abort while Python ends.
        os._exit(0)


def listen(
    host: Host,
    management: ModelManagement,
    at_once: int,
    load: Callable[[Callable[[], None]], None],
) -> bool:
    """Answer, while `load` runs in another thread, until SIGTERM or SIGINT; then finish and return.

    `load` calls the function that it is given when requests can be answered; the log then ends
    with the address to open. `at_once` requests are in the service's hands at a time, and no more
    are refused without delay. Returns whether `load` has returned. Raises what it raised, and
    StartupError if the port cannot be listened on.
    """
    start = time.monotonic()
    service, settings = host.service, host.settings
    sets = list(host.plugins.routes().values())
    routes = [route for each in sets for route in each.routes(host)]
    app = App(service, management, at_once + SPARE_THREADS, routes, Access.of(settings))
    server = _Server(service, app, settings, host.at_end)
    failures: list[Exception] = []

    def ready() -> None:
        server.listens.wait()
        if server.should_exit:
            return
        logger.info("ready after %.1f s", time.monotonic() - start)
        for each in sets:
            for title, path in each.addresses.items() if isinstance(each, HasAddresses) else ():
                logger.info("%s: %s", title, urljoin(server.address(), path))
        page = "playground" in host.plugins.routes() and has_playground(settings)
        logger.info("%s: %s", "playground" if page else "address", server.address())

    def loading() -> None:
        try:
            load(ready)
        except Exception as error:
            failures.append(error)
            server.delay_s = 0
            server.should_exit = True

    # uvicorn raises a signal again after its shutdown, to end as if it had handled none.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: setattr(server, "should_exit", True))
    loader = threading.Thread(target=loading, name="load", daemon=True)
    loader.start()
    try:
        server.run()
    except SystemExit:
        raise StartupError(
            f"cannot listen on {settings.host}, port {settings.port}: MASKRCNN_HOST has to be an "
            "address of this machine, and MASKRCNN_PORT a port that nobody listens on"
        ) from None
    if failures:
        raise failures[0]
    return not loader.is_alive()


def _scheduler(
    plugins: Plugins,
    own: ModelSettings,
    settings: Settings,
    turns: Turns | None = None,
    name: str = "model",
) -> tuple[Scheduler, Path]:
    """The scheduler of a model with settings of its `own`, and its folder. Raises StartupError.

    An isolated model takes no turns with others: that it hangs costs them nothing.
    """
    located = locate(plugins, own, settings, log_progress)
    backend = choose_backend(plugins, located)
    model, isolated = place(plugins, backend, located, name)
    scheduler = Scheduler(
        model,
        max_waiting=own.max_waiting,
        max_batch=own.max_batch,
        turns=Turns(0) if isolated else turns,
        # That of the process ends it, and begins a little later.
        limit_s=own.predict_timeout_s + (GRACE_S if isolated else 0),
    )
    return scheduler, located.folder


def _models(plugins: Plugins, settings: Settings, turns: Turns) -> Models:
    """A place for models that are yet to be loaded, and take turns."""

    def load(folder: Path) -> Scheduler:
        here = settings.model.model_copy(update={"address": str(folder)})
        return _scheduler(plugins, here, settings, turns, folder.name)[0]

    limit = settings.models_memory_mb
    memory = int(MEMORY_SHARE * available_memory()) if limit is None else limit << 20
    return Models(load, settings.models_dir, memory, evicts=settings.models_evict)


class _Server(uvicorn.Server):
    """uvicorn's server, which loses no request when it ends.

    It goes on as before for the delay, but closes each connection after its reply; then it refuses
    new connections and answers those that it has. After the drain timeout it starts no more
    requests.
    """

    def __init__(
        self,
        service: Service,
        app: App,
        settings: Settings,
        at_end: Sequence[Callable[[], None]] = (),
    ) -> None:
        self._service = service
        self._app = app
        self._at_end = at_end
        self._drain_timeout_s = settings.drain_timeout_s
        self.listens = threading.Event()
        """Set when the port is open."""
        self.delay_s = settings.shutdown_delay_s
        super().__init__(
            uvicorn.Config(
                self._app.asgi,
                host=settings.host,
                port=settings.port,
                log_config=None,
                access_log=False,
                http=partial(Bounded, limits=limits(settings)),  # type: ignore[arg-type]
                ws="none",
                h11_max_incomplete_event_size=2 * MAX_HEADER_BYTES,
                timeout_keep_alive=settings.keep_alive_s,  # type: ignore[arg-type]
                timeout_graceful_shutdown=settings.drain_timeout_s + GRACE_S + 1,
            )
        )

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.listens.set()

    def address(self) -> str:
        """The address to open on this machine, once the server listens."""
        host, port = self.servers[0].sockets[0].getsockname()[:2]
        if host in EVERY_ADDRESS:
            host = "127.0.0.1"
        return f"http://{f'[{host}]' if ':' in host else host}:{port}/"

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        loop = asyncio.get_running_loop()
        self._app.end()
        # Running requests share this list.
        self.server_state.default_headers.append((b"connection", b"close"))
        await self._wait(self.delay_s, lambda: True)
        timers = [
            loop.call_later(self._drain_timeout_s, self._end_waiting),
            loop.call_later(self._drain_timeout_s + GRACE_S, self._app.abandon),
        ]
        for call in self._at_end:
            call()
        listening = [each for server in self.servers for each in server.sockets]
        await refuse_new(listening)
        for server in self.servers:
            server.close()
        await self._wait(LINGER_S, self._has_unread)
        await super().shutdown(sockets)
        for timer in timers:
            timer.cancel()

    async def _wait(self, limit_s: float, condition: Callable[[], bool]) -> None:
        end = time.monotonic() + limit_s
        while time.monotonic() < end and condition() and not self.force_exit:
            await asyncio.sleep(POLL_S)

    def _has_unread(self) -> bool:
        """Whether a request may be on its way on a connection that uvicorn takes for idle."""
        return any(
            getattr(each, "cycle", None) is None
            or is_readable(each.transport.get_extra_info("socket"))
            for each in self.server_state.connections
        )

    def _end_waiting(self) -> None:
        self._service.refuse_waiting()
        self._app.stop_reading()

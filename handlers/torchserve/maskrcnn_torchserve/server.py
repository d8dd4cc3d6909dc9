"""The native server in front of TorchServe: it does what TorchServe cannot.

TorchServe's `/ping` is 200 before its model is loaded, its own errors do not follow the contract,
and it cannot stop listening while it finishes requests.
"""

import json
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from http.client import HTTPException
from io import BytesIO
from pathlib import Path

import PIL.Image

from maskrcnn_handlers.answer.reply import Reply
from maskrcnn_handlers.http import server
from maskrcnn_handlers.http.host import Host
from maskrcnn_handlers.http.model_management import ModelManagement
from maskrcnn_handlers.observe import request_ids, tracing
from maskrcnn_handlers.request import requests
from maskrcnn_handlers.request.envelope import ATTRIBUTES, Envelope
from maskrcnn_handlers.service import SERVER_TIMING, Call, Service
from maskrcnn_server.errors import (
    BackendFailed,
    InvalidSetting,
    MaskRCNNError,
    ModelNotFound,
    NotReady,
    QueueFull,
    RequestError,
    StartupError,
)
from maskrcnn_server.formats import Format
from maskrcnn_server.hosting.models import Models
from maskrcnn_server.plugins import Plugins
from maskrcnn_server.settings import Settings
from maskrcnn_torchserve.files import Options
from maskrcnn_torchserve.handler import ANSWERED, CAME, FORM
from maskrcnn_torchserve.process import TorchServe


def serve(plugins: Plugins, settings: Settings, options: Options) -> None:
    """Serve until SIGTERM or SIGINT; then finish what is running, and return.

    Raises StartupError if TorchServe or Java is missing, the model cannot be loaded, the port
    cannot be listened on, or TorchServe ends by itself.
    """
    if settings.multi_model:
        raise InvalidSetting("MASKRCNN_MULTI_MODEL=true: with TorchServe there is one model")
    with tempfile.TemporaryDirectory(prefix="maskrcnn-", ignore_cleanup_errors=True) as folder:
        torchserve = TorchServe(Path(folder))
        at_once = settings.model.max_waiting + options.batch_size
        formats = plugins.formats()
        service = Forwarding(formats, settings, torchserve, at_once)
        service.tracing = tracing.opened(plugins, settings)

        def load(ready: Callable[[], None]) -> None:
            def loaded(ping: bytes) -> None:
                service.forward(ping)
                ready()

            torchserve.run(plugins, settings, options, loaded)

        try:
            host = Host(service, formats, plugins, settings)
            server.listen(host, ModelManagement(service.models), at_once, load)
        finally:
            torchserve.end()
            service.close(timeout_s=0)


class Forwarding(Service):
    """A service that forwards up to `at_once` requests at a time to TorchServe and refuses more."""

    def __init__(
        self,
        formats: Mapping[str, Format],
        settings: Settings,
        torchserve: TorchServe,
        at_once: int,
    ) -> None:
        super().__init__(formats, settings, Models.single())
        self._torchserve = torchserve
        self._free = threading.Semaphore(at_once)
        self._max_waiting = settings.model.max_waiting
        self._ping: Reply | None = None

    def forward(self, ping: bytes) -> None:
        """Start forwarding once an inference succeeded; `ping` becomes the body of `/ping`.

        Raises StartupError if no inference succeeds.
        """
        file = BytesIO()
        PIL.Image.new("RGB", (8, 8)).save(file, "PNG")
        try:
            first = self._asked(Envelope.of(file.getvalue(), "image/png"))
        except MaskRCNNError as error:
            why = error.__cause__ or error
            raise StartupError(f"the first inference through TorchServe failed: {why}") from error
        if first.status != 200:
            said = first.body.decode(errors="replace")
            raise StartupError(f"the first inference through TorchServe failed: {said}")
        self._ping = Reply(200, ping)

    def ping(self) -> Reply:
        return self._ping or super().ping()

    def _answer(self, call: Call) -> Reply:
        if call.codec is not None:
            raise RequestError("this protocol needs the native server: maskrcnn-server serve")
        envelope = call.envelope
        if self._ping is None:
            raise NotReady("the model is loading")
        if (model := envelope.model) is not None:
            raise ModelNotFound(f"no model {model} is loaded", model_name=model)
        if not self._free.acquire(blocking=False):
            limit = self._max_waiting
            raise QueueFull(
                f"{limit} requests are waiting already; try again in a second",
                max_waiting=limit,
                retry_after_s=1,
            )
        try:
            return self._asked(envelope)
        finally:
            self._free.release()

    def _asked(self, envelope: Envelope) -> Reply:
        """TorchServe's reply. Raises NotReady, and BackendFailed for an error of its own."""
        content_type = envelope.content_type
        headers = {
            "content-type": content_type,
            "accept": envelope.accept,
            ATTRIBUTES: ";".join(f"{name}={value}" for name, value in envelope.attributes.items()),
        }
        given = {name: value for name, value in headers.items() if value}
        if content_type.strip().lower().startswith(requests.FORM):
            given |= {"content-type": "application/octet-stream", FORM: content_type}
        given[CAME] = str(time.monotonic())
        given[request_ids.HEADER] = request_ids.current()
        try:
            answer = self._torchserve.ask("POST", "/invocations", envelope.body, given)
        except (OSError, HTTPException) as error:
            if self._torchserve.ended:
                raise NotReady("the server is shutting down; the request took too long") from error
            raise BackendFailed("TorchServe failed on this request") from error
        if ANSWERED not in answer.headers:
            said = " ".join(answer.body.decode(errors="replace").split())
            cause = RuntimeError(f"TorchServe answered {answer.status}: {said}")
            raise BackendFailed("TorchServe failed on this request") from cause
        code = "" if answer.status == 200 else json.loads(answer.body)["error"]["code"]
        told = {name: answer.headers[name] for name in (SERVER_TIMING,) if name in answer.headers}
        return Reply(answer.status, answer.body, answer.headers["content-type"], told, code)

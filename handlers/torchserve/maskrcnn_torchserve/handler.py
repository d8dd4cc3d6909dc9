"""The handler that TorchServe loads. It moves bytes and decides nothing.

TorchServe takes the only class of this module and calls it from one thread.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import time
from collections.abc import Mapping, Sequence
from functools import partial
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from maskrcnn_handlers.answer.reply import Reply
from maskrcnn_handlers.observe import request_ids
from maskrcnn_handlers.request.envelope import ATTRIBUTES, Envelope
from maskrcnn_handlers.service import Service
from maskrcnn_server import settings as environment
from maskrcnn_server.errors import DeadlineExceeded, MaskRCNNError, RequestError, StartupError
from maskrcnn_server.hosting.models import Models
from maskrcnn_server.hosting.startup import log_progress, open_model
from maskrcnn_server.plugins import installed
from maskrcnn_torchserve.together import BatchScheduler

SECTION = "maskrcnn"
"""Section of `model-config.yaml`: `model` and `backend` as on the command line, the working
`directory`, and `status`, a file for the outcome of loading."""
ANSWERED = "x-maskrcnn-answered"
"""Response header that marks replies of this handler, as opposed to TorchServe's own."""
CAME = "x-maskrcnn-came"
"""Request header: time of arrival on this machine's monotonic clock."""
FORM = "x-maskrcnn-form"
"""Request header: content type of a form, hidden because TorchServe would parse it."""
STAND_IN = "STANDS_IN_FOR_PYTORCH"
"""Name that marks a module `torch` as not PyTorch."""

if TYPE_CHECKING:  # a class beside the handler would be one too many for TorchServe

    class Context(Protocol):
        """The part of TorchServe's context that is used."""

        model_yaml_config: Mapping[str, Any]

        @property
        def system_properties(self) -> Mapping[str, Any]: ...
        def get_all_request_header(self, idx: int) -> Mapping[str, object]: ...
        def set_response_status(self, code: int, phrase: str, idx: int) -> None: ...
        def set_response_content_type(self, idx: int, value: str) -> None: ...
        def set_response_header(self, idx: int, key: str, value: str) -> None: ...


class MaskRCNNHandler:
    """Handles requests with the model of the archive's `model-config.yaml`."""

    def initialize(self, context: Context) -> None:
        """Load the model and run it once. Raises StartupError; TorchServe then tries again."""
        _forget_stand_in(Path(context.system_properties["model_dir"]))
        given = context.model_yaml_config[SECTION]
        os.chdir(given["directory"])
        status = Path(given["status"])
        try:
            self._load(given["model"], given["backend"])
        except Exception as error:
            kind = error if isinstance(error, MaskRCNNError) else StartupError
            _tell(status, json.dumps({"code": kind.code, "message": str(error)}).encode())
            raise
        _tell(status, self._service.ping().body)

    def handle(self, data: Sequence[Mapping[str, object]], context: Context) -> list[bytes]:
        """Replies to the requests of a batch: a body each, status and headers in `context`."""
        replies = self._scheduler.together(
            [
                partial(self._reply, item, context.get_all_request_header(index))
                for index, item in enumerate(data)
            ]
        )
        for index, reply in enumerate(replies):
            phrase = HTTPStatus(reply.status).phrase
            context.set_response_status(reply.status, phrase, index)
            context.set_response_content_type(index, reply.content_type)
            for name, value in {**reply.headers, ANSWERED: "true"}.items():
                context.set_response_header(index, name, value)
        return [reply.body for reply in replies]

    def _load(self, model: str, backend: str) -> None:
        settings = environment.read(model=model, backend=backend)
        self._timeout_s = settings.timeout_s
        logging.getLogger().setLevel(settings.log_level.upper())
        plugins = installed()
        self._scheduler = BatchScheduler(open_model(plugins, settings, log_progress))
        models = Models.single(self._scheduler)
        self._service = Service(plugins.formats(), settings, models)

    def _reply(self, item: Mapping[str, object], headers: Mapping[str, object]) -> Reply:
        found = {name.lower(): str(value) for name, value in headers.items()}
        with request_ids.assigned(found.get(request_ids.HEADER.lower(), "")):
            return self._identified_reply(item, found)

    def _identified_reply(self, item: Mapping[str, object], found: Mapping[str, str]) -> Reply:
        if time.monotonic() - float(found.get(CAME, "inf")) > self._timeout_s:
            late = DeadlineExceeded(
                f"the model was busy for {self._timeout_s:g} s; the request did not run",
                timeout_s=self._timeout_s,
            )
            return self._service.refuse(late)
        sent = item.get("body")
        body = bytes(sent) if isinstance(sent, (bytes, bytearray)) else b""
        try:
            self._service.check_length(len(body))
            envelope = Envelope.of(
                body,
                found.get(FORM) or found.get("content-type", ""),
                found.get("accept", ""),
                found.get(ATTRIBUTES.lower(), ""),
            )
        except RequestError as error:
            return self._service.refuse(error)
        return self._service.invoke(envelope)


def _tell(status: Path, content: bytes) -> None:
    """Write the outcome of loading for the process that started TorchServe."""
    unfinished = status.with_suffix(".unfinished")
    unfinished.write_bytes(content)
    unfinished.replace(status)


def _forget_stand_in(folder: Path) -> None:
    """Remove the stand-in module `torch`, so that no other code finds it."""
    if hasattr(sys.modules.get("torch"), STAND_IN):
        del sys.modules["torch"]
        sys.path[:] = [path for path in sys.path if Path(path).resolve() != folder.resolve()]

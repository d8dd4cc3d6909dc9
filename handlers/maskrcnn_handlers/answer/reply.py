"""A reply before a front end sends it, and what an error becomes."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from maskrcnn_handlers.answer.status import status_of
from maskrcnn_handlers.observe import request_ids
from maskrcnn_server.errors import BackendFailed, OutOfMemory

if TYPE_CHECKING:
    from maskrcnn_server.errors import MaskRCNNError

JSON = "application/json"

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Reply:
    """A reply, before a front end sends it."""

    status: int
    body: bytes
    content_type: str = JSON
    headers: Mapping[str, str] = field(default_factory=dict)
    code: str = ""
    """Code of the error; empty if it is none."""


def json_reply(status: int, content: object, headers: Mapping[str, str] | None = None) -> Reply:
    """A reply in JSON."""
    return Reply(status, json.dumps(content).encode(), JSON, headers or {})


def refusal(error: MaskRCNNError) -> Reply:
    """The reply that tells a client what went wrong; a fault of ours goes to the log as well."""
    with request_ids.assigned() as request_id:
        content = {"error": described(error), "request_id": request_id}
    headers = {}
    if "retry_after_s" in error.detail:
        headers["Retry-After"] = str(error.detail["retry_after_s"])
    return Reply(status_of(error), json.dumps(content).encode(), JSON, headers, error.code)


def described(error: MaskRCNNError) -> dict[str, object]:
    """An error as clients read it; a fault of ours goes to the log as well."""
    if status_of(error) == 500:
        logger.error("request %s failed", request_ids.current(), exc_info=error)
    return {"code": error.code, "message": error.message, "detail": error.detail}


def failed(cause: Exception) -> MaskRCNNError:
    """The error that a client is told of, for an exception that is not one of ours."""
    if isinstance(cause, MemoryError):
        return OutOfMemory("the memory does not suffice for this request now", retry_after_s=1)
    failure = BackendFailed("the server failed on this request")
    failure.__cause__ = cause
    return failure

"""Errors as SageMaker's runtime passes them on."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Protocol

from maskrcnn_handlers.answer.reply import json_reply

if TYPE_CHECKING:
    from maskrcnn_handlers.answer.reply import Reply


class Refused(Protocol):
    """A container's reply whose status is an error."""

    @property
    def status_code(self) -> int:
        """HTTP status."""

    @property
    def body(self) -> bytes | memoryview:
        """Body of the reply."""


def model_error(reply: Refused) -> Reply:
    """424 ModelError, with what the container said.

    Source: SageMaker's API reference, InvokeEndpoint.
    """
    said, status = bytes(reply.body).decode(errors="replace"), reply.status_code
    side = "client" if status < HTTPStatus.INTERNAL_SERVER_ERROR else "server"
    message = f'Received {side} error ({status}) from primary with message "{said}".'
    content = {
        "ErrorCode": f"{side.upper()}_ERROR_FROM_MODEL",
        "Message": message,
        "message": message,
        "OriginalMessage": said,
        "OriginalStatusCode": status,
        "LogStreamArn": "",
    }
    headers = {"x-amzn-ErrorType": "ModelError"}
    return json_reply(HTTPStatus.FAILED_DEPENDENCY, content, headers)

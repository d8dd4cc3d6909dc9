"""What is sent to a server, and what comes back, over any transport."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from maskrcnn_client.errors import (
    ClientError,
    ImageRefused,
    InvalidOption,
    InvalidReply,
    RequestRefused,
    ServerFailed,
    ServerUnavailable,
)
from maskrcnn_client.images import Size
from maskrcnn_client.retry import BUSY

TOO_LARGE = 413
KINDS: Mapping[str, type[ClientError]] = {
    "invalid_image": ImageRefused,
    "image_too_large": ImageRefused,
    "payload_too_large": ImageRefused,
    "invalid_request": InvalidOption,
    "not_acceptable": InvalidOption,
}
"""Classes of errors by the server's codes; what is not here has the class of its status."""


@dataclass(frozen=True)
class Request:
    """A body, and options as `key=value` separated by `;`."""

    body: bytes
    content_type: str
    options: str


@dataclass(frozen=True)
class Reply:
    """A reply, with one of HTTP's status codes."""

    status: int
    body: bytes
    retry_after_s: float | None = None
    """Seconds after which to ask again, if the server says so."""
    attributes: str = ""
    """What the server says of the image, as `key=value` separated by `;`."""
    is_streamed: bool = False
    """Whether the body comes piece by piece."""

    @property
    def size(self) -> Size | None:
        """Height and width of the image, if the server says them."""
        said = dict(pair.split("=", 1) for pair in self.attributes.split(";") if "=" in pair)
        try:
            return int(said["height"]), int(said["width"])
        except (KeyError, ValueError):
            return None

    @property
    def limit_mb(self) -> float | None:
        """MiB that a request may have, if it was refused for having more."""
        if self.status != TOO_LARGE:
            return None
        try:
            return float(json.loads(self.body)["error"]["detail"]["max_payload_mb"])
        except (ValueError, KeyError, TypeError):
            return None

    def error(self) -> ClientError:
        """What the server says when it does not answer."""
        try:
            return told(json.loads(self.body), self.status)
        except (ValueError, KeyError, TypeError):
            start = " ".join(self.body[:300].decode(errors="replace").split())
            kind = ServerUnavailable if self.status in BUSY else InvalidReply
            message = f"the server replies {self.status}: {start or 'nothing'}"
            return kind(message, status=self.status)


def told(said: Any, status: int) -> ClientError:
    """The error that a server tells of in JSON.

    Raises ValueError, KeyError or TypeError if it is none.
    """
    code, message = str(said["error"]["code"]), str(said["error"]["message"])
    kinds = {4: RequestRefused, 5: ServerFailed}
    fallback = ServerUnavailable if status in BUSY else kinds.get(status // 100)
    return KINDS.get(code, fallback or ClientError)(
        message,
        code=code,
        detail=dict(said["error"]["detail"]),
        request_id=said.get("request_id"),
        status=status,
    )

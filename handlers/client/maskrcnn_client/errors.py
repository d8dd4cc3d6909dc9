"""Everything that can go wrong when a server is asked."""

from collections.abc import Mapping
from typing import Any, ClassVar


class ClientError(Exception):
    """The base of every error that this package raises on purpose.

    `code` is stable and machine-readable: the server's, where it sent one. `detail` holds JSON
    values about this one occurrence; `request_id` finds the request in the server's log; `status`
    is the reply's HTTP status. Both are None if there was no reply.
    """

    default_code: ClassVar[str] = "client_error"

    def __init__(
        self,
        message: str,
        *,
        code: str | None = None,
        detail: Mapping[str, Any] | None = None,
        request_id: str | None = None,
        status: int | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.code = code or self.default_code
        self.detail = dict(detail or {})
        self.request_id = request_id
        self.status = status


class InvalidTarget(ClientError):
    """The target, or what belongs to it such as a region, cannot be used."""

    default_code = "invalid_setting"


class NotInstalled(ClientError):
    """A library that this call needs is missing; the message says how to install it."""

    default_code = "not_installed"


class RequestRefused(ClientError):
    """The server does not answer this request, now or later."""

    default_code = "invalid_request"


class ImageRefused(RequestRefused):
    """The image cannot be read, or is too large."""

    default_code = "invalid_image"


class InvalidOption(RequestRefused):
    """An option is unknown, or has a value that is not allowed."""


class ServerUnavailable(ClientError):
    """The server is busy, starting or shutting down; it may answer the same request later."""

    default_code = "unavailable"


class ServerFailed(ClientError):
    """The server failed on this request."""

    default_code = "internal_error"


class ServerUnreachable(ClientError):
    """There is no connection to the server, or it took too long to reply."""

    default_code = "unreachable"


class ConnectionBroken(ServerUnreachable):
    """The connection broke; a new one may not."""


class IncompleteReply(ServerUnreachable):
    """A streamed reply ended before it was complete."""

    default_code = "incomplete_reply"


class InvalidReply(ClientError):
    """The reply is not one of a maskrcnn_server."""

    default_code = "invalid_reply"

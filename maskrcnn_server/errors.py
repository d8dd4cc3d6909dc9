"""All errors of the project, by the names that clients and operators read.

Errors know no HTTP: `maskrcnn_handlers.answer.status` gives each its status code.
"""

import re
from collections.abc import Iterator
from typing import ClassVar

ADDRESS = re.compile(r"(?<=:)/+[^\s<>\"]+")
"""Whatever follows the scheme of an address in a text, and punctuation after it."""
PUNCTUATION = ".,:;)]}'"
CAPITAL = re.compile(r"(?<=[a-z])(?=[A-Z])")


class MaskRCNNError(Exception):
    """Base of all errors that this project raises on purpose.

    `code` is stable and machine-readable: the name of the class, unless it says another. `detail`
    holds JSON values about this occurrence. Addresses in the message lose what may be secret.
    """

    code: ClassVar[str] = "internal_error"

    def __init__(self, message: str, /, **detail: object) -> None:
        self.message = redacted(message)
        super().__init__(self.message)
        self.detail = detail


class RequestError(MaskRCNNError):
    """The request cannot be answered as it is."""

    code = "invalid_request"


class Unauthorized(RequestError):
    """The request does not have the server's API key."""


class OriginRefused(RequestError):
    """The request comes from a page of another site."""


class InvalidImage(RequestError):
    """The bytes are not an image that can be decoded."""


class ImageTooLarge(InvalidImage):
    """The image has more pixels than the server decodes."""


class PayloadTooLarge(RequestError):
    """The request's body is larger than the server reads."""


class HeadersTooLarge(RequestError):
    """The request's headers are larger than the server reads."""


class RequestTooSlow(RequestError):
    """The request did not arrive in time."""


class UnsupportedContentType(RequestError):
    """The content type of the request is not supported."""


class NotAcceptable(RequestError):
    """The client accepts no response format of this server, or named an unknown one."""


class ModelNotFound(RequestError):
    """No model of this name is loaded."""


class ModelExists(RequestError):
    """A model of this name is loaded already."""


class ModelRefused(RequestError):
    """The model to load cannot be served."""


class MultiModelOff(RequestError):
    """The server hosts one model and cannot load others."""


class UnavailableError(MaskRCNNError):
    """The request is valid, but the server cannot serve it now."""

    code = "unavailable"


class NotReady(UnavailableError):
    """The model is still loading, or the server is shutting down."""


class QueueFull(UnavailableError):
    """The queue is full."""


class Overloaded(UnavailableError):
    """The server has as many connections, or bytes of requests in memory, as it may."""


class OutOfMemory(UnavailableError):
    """The memory of the machine does not suffice for this request now."""


class DeadlineExceeded(UnavailableError):
    """The request waited longer than the time-out before the model could run it."""


class ModelFailed(UnavailableError):
    """The model could not be loaded, or its process keeps ending."""


class CallerGone(UnavailableError):
    """The client went away before the model could run."""

    code = "client_gone"


class InsufficientMemory(UnavailableError):
    """The memory does not suffice for one more model."""


class OutOfDeviceMemory(UnavailableError):
    """The memory of the device does not suffice for one image."""


class BackendFailed(MaskRCNNError):
    """A backend raised an unexpected error or broke its contract."""


class BackendCrashed(BackendFailed):
    """The process of the model ended while it computed this request."""


class BackendTimedOut(BackendFailed):
    """The model took longer than it may for this request."""


class StartupError(MaskRCNNError):
    """The server cannot start with these settings."""

    code = "startup_failed"


class InvalidSetting(StartupError):
    """An environment variable or a configuration key has a value that is not allowed."""


class WarmUpFailed(StartupError):
    """The model was loaded, and failed to predict."""


class PluginError(StartupError):
    """A plugin breaks the rules of registration."""

    code = "invalid_plugin"


class BackendNotSelected(StartupError):
    """No backend, or more than one, fits the model."""


class DownloadFailed(StartupError):
    """A model cannot be downloaded, or differs from the first download."""


class InvalidModel(StartupError):
    """The backend cannot serve the model folder."""


class DeploymentFailed(MaskRCNNError):
    """AWS refused a call, or an endpoint failed to start."""


class NoAnswer(MaskRCNNError):
    """A server cannot be reached, or its reply is not one of this project."""


def _classes() -> Iterator[type[MaskRCNNError]]:
    """All classes of errors; those without a code of their own get their name: `queue_full`."""
    for name, kind in list(globals().items()):
        if isinstance(kind, type) and issubclass(kind, MaskRCNNError):
            if "code" not in vars(kind):
                kind.code = CAPITAL.sub("_", name).lower()
            yield kind


ERROR_CLASSES = {kind.code: kind for kind in _classes()}
"""Classes of errors by code."""


def redacted(text: str) -> str:
    """The text without user names, passwords, queries and fragments of the addresses in it.

    A signature is a query, and a path is none.
    """
    return ADDRESS.sub(lambda found: _shown(found[0]), text)


def _shown(address: str) -> str:
    end = len(address.rstrip(PUNCTUATION))
    address, after = address[:end], address[end:]
    place = address.lstrip("/")
    slashes = address[: len(address) - len(place)]
    host = re.split("[/?#]", place, maxsplit=1)[0]
    _, colon, port = host.rpartition(":")
    if "@" in host:
        place = place[host.rindex("@") + 1 :]
    elif colon and not port.isdecimal():
        # A password with a character in it that should have been written as %2F or the like.
        place = place.rpartition("@")[2]
    return slashes + re.split("[?#]", place, maxsplit=1)[0] + after

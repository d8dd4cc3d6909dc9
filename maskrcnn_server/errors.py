"""Everything that can go wrong, by the name a client or an operator reads.

Errors know no HTTP: `maskrcnn_handlers.answer.status` gives each its status code.
"""

from typing import ClassVar


class MaskRCNNError(Exception):
    """The base of every error that this project raises on purpose.

    `code` is stable and machine-readable; `detail` holds JSON values about this one occurrence.
    """

    code: ClassVar[str] = "internal_error"

    def __init__(self, message: str, /, **detail: object) -> None:
        super().__init__(message)
        self.message = message
        self.detail = detail


class RequestError(MaskRCNNError):
    """The client sent something that cannot be answered."""

    code = "invalid_request"


class InvalidImage(RequestError):
    """The bytes are no image that can be decoded."""

    code = "invalid_image"


class ImageTooLarge(InvalidImage):
    """The image has more pixels than the server decodes."""

    code = "image_too_large"


class PayloadTooLarge(RequestError):
    """The request's body is larger than the server reads."""

    code = "payload_too_large"


class UnsupportedContentType(RequestError):
    """No decoder for the request's content type."""

    code = "unsupported_content_type"


class NotAcceptable(RequestError):
    """No response format that the client accepts, or none of that name."""

    code = "not_acceptable"


class ModelNotFound(RequestError):
    """No model of that name is loaded."""

    code = "model_not_found"


class ModelExists(RequestError):
    """A model of that name is loaded already."""

    code = "model_exists"


class ModelRefused(RequestError):
    """The model that is to be loaded cannot be served."""

    code = "model_refused"


class MultiModelOff(RequestError):
    """The server hosts one model, and cannot load others."""

    code = "multi_model_off"


class UnavailableError(MaskRCNNError):
    """The request is fine, but the server cannot serve it now."""

    code = "unavailable"


class NotReady(UnavailableError):
    """The model is still loading, or the server is shutting down."""

    code = "not_ready"


class QueueFull(UnavailableError):
    """As many requests as the server admits are waiting already."""

    code = "queue_full"


class DeadlineExceeded(UnavailableError):
    """The request waited for longer than the time-out before the model could run."""

    code = "deadline_exceeded"


class ModelFailed(UnavailableError):
    """The model could not be loaded, or the process that it runs in keeps ending."""

    code = "model_failed"


class CallerGone(UnavailableError):
    """The client went away before the model could run."""

    code = "client_gone"


class InsufficientMemory(UnavailableError):
    """There is no memory for one more model."""

    code = "insufficient_memory"


class OutOfDeviceMemory(UnavailableError):
    """The device that computes has too little free memory for one image."""

    code = "out_of_device_memory"


class BackendFailed(MaskRCNNError):
    """A backend raised something that is not one of these errors, or broke its promises."""

    code = "backend_failed"


class BackendCrashed(BackendFailed):
    """The process that the model runs in ended while it computed this request."""

    code = "backend_crashed"


class BackendTimedOut(BackendFailed):
    """The model computed this request for longer than it may."""

    code = "backend_timed_out"


class StartupError(MaskRCNNError):
    """The server cannot start as it is set up."""

    code = "startup_failed"


class InvalidSetting(StartupError):
    """An environment variable or a configuration key has a value that is not allowed."""

    code = "invalid_setting"


class PluginError(StartupError):
    """A plugin breaks the rules of registration."""

    code = "invalid_plugin"


class BackendNotSelected(StartupError):
    """It is not clear which backend should serve the model."""

    code = "backend_not_selected"


class DownloadFailed(StartupError):
    """A model cannot be fetched, or is not what it was."""

    code = "download_failed"


class InvalidModel(StartupError):
    """The model folder holds nothing that the backend can serve, and this is why."""

    code = "invalid_model"


class DeploymentFailed(MaskRCNNError):
    """The cloud refused what a command asked of it, or an endpoint did not come up."""

    code = "deployment_failed"


class NoAnswer(MaskRCNNError):
    """A server cannot be reached, or what it answers is none of this project's."""

    code = "no_answer"

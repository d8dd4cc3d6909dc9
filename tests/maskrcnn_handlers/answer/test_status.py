import inspect

import pytest

from maskrcnn_handlers.answer.status import STATUS, status_of
from maskrcnn_server import errors

KINDS = [
    kind
    for _, kind in inspect.getmembers(errors, inspect.isclass)
    if issubclass(kind, errors.MaskRCNNError)
]

EXPECTED: dict[type[errors.MaskRCNNError], int] = {
    errors.RequestError: 400,
    errors.Unauthorized: 401,
    errors.OriginRefused: 403,
    errors.InvalidImage: 422,
    errors.ImageTooLarge: 422,
    errors.PayloadTooLarge: 413,
    errors.HeadersTooLarge: 431,
    errors.RequestTooSlow: 408,
    errors.Overloaded: 503,
    errors.OutOfMemory: 503,
    errors.UnsupportedContentType: 415,
    errors.NotAcceptable: 406,
    errors.ModelNotFound: 404,
    errors.ModelExists: 409,
    errors.ModelRefused: 400,
    errors.MultiModelOff: 404,
    errors.InsufficientMemory: 507,
    errors.UnavailableError: 503,
    errors.NotReady: 503,
    errors.QueueFull: 429,
    errors.DeadlineExceeded: 504,
    errors.CallerGone: 499,
    errors.ModelFailed: 503,
    errors.OutOfDeviceMemory: 503,
    errors.BackendFailed: 500,
    errors.BackendCrashed: 500,
    errors.BackendTimedOut: 504,
    errors.WarmUpFailed: 500,
    errors.StartupError: 500,
    errors.InvalidSetting: 500,
    errors.PluginError: 500,
    errors.BackendNotSelected: 500,
    errors.DownloadFailed: 500,
    errors.InvalidModel: 500,
    errors.DeploymentFailed: 500,
    errors.NoAnswer: 500,
    errors.MaskRCNNError: 500,
}


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: str(kind.__name__))
def test_every_error_has_the_status_of_the_contract(kind: type[errors.MaskRCNNError]) -> None:
    assert status_of(kind("a message")) == EXPECTED[kind]


def test_every_code_is_used_once() -> None:
    codes = [kind.code for kind in KINDS]
    assert len(set(codes)) == len(codes)


def test_a_plugins_own_error_has_its_parents_status() -> None:
    class Blurred(errors.InvalidImage):
        code = "blurred"

    assert status_of(Blurred("too blurred")) == 422


def test_only_errors_of_ours_are_in_the_table() -> None:
    assert all(issubclass(kind, errors.MaskRCNNError) for kind in STATUS)

"""Which HTTP status says what. Nothing else in the project knows status codes."""

from maskrcnn_server import errors

STATUS: dict[type[Exception], int] = {
    errors.RequestError: 400,
    errors.Unauthorized: 401,
    errors.OriginRefused: 403,
    errors.RequestTooSlow: 408,
    errors.PayloadTooLarge: 413,
    errors.HeadersTooLarge: 431,
    errors.UnsupportedContentType: 415,
    errors.NotAcceptable: 406,
    errors.InvalidImage: 422,
    errors.ModelNotFound: 404,
    errors.ModelExists: 409,
    errors.MultiModelOff: 404,
    errors.UnavailableError: 503,
    errors.InsufficientMemory: 507,
    errors.QueueFull: 429,
    errors.DeadlineExceeded: 504,
    errors.CallerGone: 499,
    errors.BackendTimedOut: 504,
    errors.MaskRCNNError: 500,
}


def status_of(error: errors.MaskRCNNError) -> int:
    """The status of the nearest class that has one."""
    return next(STATUS[kind] for kind in type(error).__mro__ if kind in STATUS)

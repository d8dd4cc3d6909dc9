"""Client of a maskrcnn_server, at a URL or behind a SageMaker endpoint."""

from maskrcnn_client.client import AsyncClient, Client
from maskrcnn_client.errors import (
    ClientError,
    ImageRefused,
    InvalidOption,
    InvalidReply,
    InvalidTarget,
    NotInstalled,
    RequestRefused,
    ServerFailed,
    ServerUnavailable,
    ServerUnreachable,
)
from maskrcnn_client.prediction import CocoResult, Prediction

__all__ = [
    "AsyncClient",
    "Client",
    "ClientError",
    "CocoResult",
    "ImageRefused",
    "InvalidOption",
    "InvalidReply",
    "InvalidTarget",
    "NotInstalled",
    "Prediction",
    "RequestRefused",
    "ServerFailed",
    "ServerUnavailable",
    "ServerUnreachable",
]

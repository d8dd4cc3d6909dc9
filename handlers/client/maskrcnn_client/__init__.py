"""Client of a maskrcnn_server, at a URL or behind a SageMaker endpoint."""

from maskrcnn_client.client import AsyncClient, Client
from maskrcnn_client.errors import (
    ClientError,
    ImageRefused,
    IncompleteReply,
    InvalidOption,
    InvalidReply,
    InvalidTarget,
    NotInstalled,
    RequestRefused,
    ServerFailed,
    ServerUnavailable,
    ServerUnreachable,
)
from maskrcnn_client.prediction import CocoResult, Prediction, joined
from maskrcnn_client.streams import Tile

__all__ = [
    "AsyncClient",
    "Client",
    "ClientError",
    "CocoResult",
    "ImageRefused",
    "IncompleteReply",
    "InvalidOption",
    "InvalidReply",
    "InvalidTarget",
    "NotInstalled",
    "Prediction",
    "RequestRefused",
    "ServerFailed",
    "ServerUnavailable",
    "ServerUnreachable",
    "Tile",
    "joined",
]

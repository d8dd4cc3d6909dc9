"""Fixtures of a server with a model that needs no framework."""

from server_fixtures import (
    _no_settings_from_outside,
    aws,
    client,
    connect,
    encode,
    install,
    moto,
    pixels,
    png,
    pool,
    question,
    scheduler,
    service,
    settings,
    start,
    url,
)

__all__ = [
    "_no_settings_from_outside",
    "aws",
    "client",
    "connect",
    "encode",
    "install",
    "moto",
    "pixels",
    "png",
    "pool",
    "question",
    "scheduler",
    "service",
    "settings",
    "start",
    "url",
]

"""Fixtures of a server that speaks every protocol."""

from protocol_fixtures import *  # noqa: F403
from server_fixtures import *  # noqa: F403

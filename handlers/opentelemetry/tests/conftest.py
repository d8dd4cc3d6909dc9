"""Fixtures of a server with a model that needs no framework."""

from server_fixtures import *  # noqa: F403

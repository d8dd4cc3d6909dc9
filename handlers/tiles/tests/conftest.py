"""Fixtures of a server over a fake model."""

from server_fixtures import *  # noqa: F403

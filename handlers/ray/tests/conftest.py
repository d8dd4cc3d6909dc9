"""Fixtures of a server, and of an account with S3."""

from server_fixtures import *  # noqa: F403

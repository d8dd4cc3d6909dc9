"""Fixtures of a server with a model that needs no framework, and of a backend that is told what to
do."""

from scripted_backend import host  # noqa: F401
from server_fixtures import *  # noqa: F403

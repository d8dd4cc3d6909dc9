"""Fixtures of a server with a model that needs no framework, and of its page in a browser."""

from playground_site import browser, complaints, found, page, picture, serve, site, visit  # noqa: F401
from server_fixtures import *  # noqa: F403

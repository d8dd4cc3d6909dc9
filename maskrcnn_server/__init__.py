"""The waist of the server: what a backend is, what a format is, and what flows between them."""

from maskrcnn_server.hookspecs import API_VERSION, hookimpl

__all__ = ["API_VERSION", "hookimpl"]

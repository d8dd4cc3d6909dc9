"""The command line: `maskrcnn-server`."""

from maskrcnn_handlers.cli.main import main

__all__ = ["main"]

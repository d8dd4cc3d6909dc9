"""Libraries that only some calls need."""

import importlib
from typing import Any

from maskrcnn_client.errors import NotInstalled


def pillow(purpose: str) -> Any:
    """Pillow's package `PIL` with the modules that are used. Raises NotInstalled."""
    pil = required("PIL", "Pillow", "images", purpose)
    importlib.import_module("PIL.ImageOps")
    return pil


def required(module: str, library: str, extra: str, purpose: str) -> Any:
    """The module. Raises NotInstalled with the command that installs the library."""
    try:
        return importlib.import_module(module)
    except ImportError:
        raise NotInstalled(
            f"{purpose} needs {library}, which is not installed: "
            f"pip install 'maskrcnn-client[{extra}]'"
        ) from None

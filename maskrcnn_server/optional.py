"""Libraries that are needed for some things only, and may not be installed."""

from importlib import import_module
from importlib.util import find_spec
from shlex import quote
from typing import Any

from maskrcnn_server.errors import InvalidSetting


def required(module: str, requirement: str) -> Any:
    """The module, imported. Raises InvalidSetting, with the line to run, if it is not installed."""
    try:
        return import_module(module)
    except ImportError:
        raise InvalidSetting(_missing(module, requirement)) from None


def lacks(module: str, requirement: str) -> str | None:
    """The line to run if a module is not installed; None if it is. Imports nothing."""
    return _missing(module, requirement) if find_spec(module) is None else None


def _missing(module: str, requirement: str) -> str:
    return f"{module.partition('.')[0]} is not installed: pip install {quote(requirement)}"

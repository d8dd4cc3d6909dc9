"""`maskrcnn-server new-engine`"""

from pathlib import Path
from typing import Annotated

import typer

from maskrcnn_plugin_kit import project
from maskrcnn_server.engine import AUTO, ORIGINAL
from maskrcnn_server.errors import InvalidSetting
from maskrcnn_server.plugins import installed

FILES = {
    "engine/pyproject.toml.in": "pyproject.toml",
    "engine/README.md.in": "README.md",
    "engine/init.py.in": "$package/__init__.py",
    "engine/plugin.py.in": "$package/plugin.py",
    "engine/engine.py.in": "$package/engine.py",
    "engine/session.py.in": "$package/session.py",
    "engine/operations.py.in": "$package/operations.py",
    "engine/test_conformance.py.in": "tests/test_conformance.py",
    "engine/test_engine.py.in": "tests/test_engine.py",
}
RESERVED = {AUTO, ORIGINAL, "native"}
"""Values of `MASKRCNN_ENGINE` that select something else."""


def new_engine(
    name: Annotated[str, typer.Argument(help="Such as `tvm`; the package is maskrcnn_tvm.")],
    folder: Annotated[
        Path | None, typer.Argument(metavar="[DIR]", help="Default: maskrcnn-NAME.")
    ] = None,
) -> None:
    """Write a project with a new engine: a complete plugin that computes with NumPy."""
    check_name(name)
    project.start(FILES, name, folder, then=f"MASKRCNN_ENGINE={name} maskrcnn-server demo")


def check_name(name: str) -> None:
    """Raises InvalidSetting, with the rule, if an engine cannot be called so."""
    if name in RESERVED:
        raise InvalidSetting(f"{name!r}: MASKRCNN_ENGINE={name} has a meaning already")
    if name in installed().engines():
        raise InvalidSetting(f"{name!r}: an engine of this name is installed already")
    project.check_name(name, "engine")

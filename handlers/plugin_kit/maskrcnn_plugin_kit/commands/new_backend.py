"""`maskrcnn-server new-backend`"""

from pathlib import Path
from typing import Annotated

import typer

from maskrcnn_plugin_kit import project
from maskrcnn_server import settings as environment
from maskrcnn_server.errors import InvalidSetting
from maskrcnn_server.plugins import installed

FILES = {
    "backend/pyproject.toml.in": "pyproject.toml",
    "backend/README.md.in": "README.md",
    "backend/Dockerfile.in": "Dockerfile",
    "backend/dockerignore.in": ".dockerignore",
    "backend/init.py.in": "$package/__init__.py",
    "backend/plugin.py.in": "$package/plugin.py",
    "backend/backend.py.in": "$package/backend.py",
    "backend/weights.py.in": "$package/weights.py",
    "backend/model.py.in": "$package/model.py",
    "backend/test_conformance.py.in": "tests/test_conformance.py",
    "backend/test_model.py.in": "tests/test_model.py",
    "backend/colours.json.in": "example/model/colours.json",
    "backend/picture.png": "example/picture.png",
}


def new_backend(
    name: Annotated[str, typer.Argument(help="Such as `yolact`; the package is maskrcnn_yolact.")],
    folder: Annotated[
        Path | None, typer.Argument(metavar="[DIR]", help="Default: maskrcnn-NAME.")
    ] = None,
) -> None:
    """Write a project with a new backend: a complete plugin around a model that is a toy."""
    check_name(name)
    project.start(
        FILES,
        name,
        folder,
        then="maskrcnn-server predict example/picture.png --model example/model --out drawn",
    )


def check_name(name: str) -> None:
    """Raises InvalidSetting, with the rule, if a backend cannot be called so."""
    # A backend's options are variables that begin with its name.
    settings = {variable for names in environment.variable_names().values() for variable in names}
    for variable in sorted(settings | {environment.OVERRIDE_PREFIX}):
        if variable.startswith(f"{name.upper()}_"):
            raise InvalidSetting(f"{name!r}: {variable} is a setting of the server already")
    if name in installed().backends():
        raise InvalidSetting(f"{name!r}: a backend of this name is installed already")
    project.check_name(name, "backend")

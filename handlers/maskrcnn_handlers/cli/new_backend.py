"""`maskrcnn-server new-backend`"""

import importlib.util
import re
from importlib.metadata import version
from pathlib import Path
from string import Template
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

from maskrcnn_server import API_VERSION
from maskrcnn_server import settings as environment
from maskrcnn_server.errors import InvalidSetting
from maskrcnn_server.plugins import Plugins

TEMPLATE = Path(__file__).parents[1] / "template"
FILES = {
    "pyproject.toml.in": "pyproject.toml",
    "README.md.in": "README.md",
    "Dockerfile.in": "Dockerfile",
    "dockerignore.in": ".dockerignore",
    "gitignore.in": ".gitignore",
    "init.py.in": "$package/__init__.py",
    "plugin.py.in": "$package/plugin.py",
    "backend.py.in": "$package/backend.py",
    "weights.py.in": "$package/weights.py",
    "model.py.in": "$package/model.py",
    "py.typed.in": "$package/py.typed",
    "test_conformance.py.in": "tests/test_conformance.py",
    "test_model.py.in": "tests/test_model.py",
    "colours.json.in": "example/model/colours.json",
    "picture.png": "example/picture.png",
}
NAME = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*")
LONGEST = 24


def new_backend(
    name: Annotated[str, typer.Argument(help="Such as `yolact`; the package is maskrcnn_yolact.")],
    folder: Annotated[
        Path | None, typer.Argument(metavar="[DIR]", help="Default: maskrcnn-NAME.")
    ] = None,
) -> None:
    """Write a project with a new backend: a complete plugin around a model that is a toy."""
    console = Console(soft_wrap=True)
    check_name(name)
    target = folder or Path(f"maskrcnn-{name.replace('_', '-')}")
    write(name, target)
    where = escape(str(target))
    console.print(f"wrote [bold]{where}[/]; its README.md says what is where. Begin with")
    console.print(f"  cd {where} && pip install -e '.\\[dev]' && pytest")
    console.print("  maskrcnn-server predict example/picture.png --model example/model --out drawn")


def check_name(name: str) -> None:
    """Raises InvalidSetting, with the rule, if a backend cannot be called so."""
    if not NAME.fullmatch(name) or len(name) > LONGEST:
        raise InvalidSetting(
            f"{name!r} is no name for a backend: up to {LONGEST} lower-case letters and digits, "
            "with single _ between them, a letter first"
        )
    # A backend's options are variables that begin with its name.
    settings = {variable for names in environment.variable_names().values() for variable in names}
    for variable in sorted(settings | {environment.OVERRIDE_PREFIX}):
        if variable.startswith(f"{name.upper()}_"):
            raise InvalidSetting(f"{name!r}: {variable} is a setting of the server already")
    if name in Plugins().backends():
        raise InvalidSetting(f"{name!r}: a backend of this name is installed already")
    if importlib.util.find_spec(f"maskrcnn_{name}"):
        raise InvalidSetting(f"{name!r}: a package maskrcnn_{name} is installed already")


def write(name: str, target: Path) -> None:
    """Write the project. Raises InvalidSetting if something is there already."""
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise InvalidSetting(f"{target} exists already: name a new or an empty folder")
    words = {
        "name": name,
        "package": f"maskrcnn_{name}",
        "distribution": f"maskrcnn-{name.replace('_', '-')}",
        "class_name": "".join(part.capitalize() for part in name.split("_")),
        "api_version": API_VERSION,
        "server_version": version("maskrcnn-server"),
    }
    for source, destination in FILES.items():
        path = target / Template(destination).substitute(words)
        path.parent.mkdir(parents=True, exist_ok=True)
        if source.endswith(".in"):
            path.write_text(Template((TEMPLATE / source).read_text()).substitute(words))
        else:
            path.write_bytes((TEMPLATE / source).read_bytes())

"""Projects of plugins, written from templates."""

import importlib.util
import re
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from string import Template

from rich.console import Console
from rich.markup import escape

from maskrcnn_server import API_VERSION
from maskrcnn_server.errors import InvalidSetting

TEMPLATES = Path(__file__).parent / "template"
BOTH = {
    "both/gitignore.in": ".gitignore",
    "both/py.typed.in": "$package/py.typed",
}
"""Files of every project."""
OURS = set(
    "annotation_formats aws_samples client detectron2 matterport mmdetection network onnx openvino "
    "playground plugin_kit predict sagemaker server study tensorflow tensorpack torch torchserve "
    "torchvision tf_object_detection".split()
)
"""Names of this project's own distributions, without `maskrcnn-`."""
NAME = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*")
MAX_NAME = 24
"""Length of the longest name."""


def check_name(name: str, kind: str) -> None:
    """Raises InvalidSetting, with the rule, if no plugin with this `kind` can be called so."""
    if not NAME.fullmatch(name) or len(name) > MAX_NAME:
        article = "an" if kind == "engine" else "a"
        raise InvalidSetting(
            f"{name!r} is not a name for {article} {kind}: up to {MAX_NAME} lower-case letters and "
            "digits, with single _ between them, a letter first"
        )
    if name in OURS:
        raise InvalidSetting(f"{name!r}: {_distribution(name)} is a distribution of this project")
    if importlib.util.find_spec(f"maskrcnn_{name}"):
        raise InvalidSetting(f"{name!r}: a package maskrcnn_{name} is installed already")


def folder_of(name: str) -> Path:
    """The folder of a project that is given none."""
    return Path(_distribution(name))


def write(files: Mapping[str, str], name: str, target: Path) -> None:
    """Write the project with these templates, and where they go.

    Raises InvalidSetting if something is there already.
    """
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise InvalidSetting(f"{target} exists already: name a new or an empty folder")
    words = {
        "name": name,
        "variable": name.upper(),
        "package": f"maskrcnn_{name}",
        "distribution": _distribution(name),
        "class_name": "".join(part.capitalize() for part in name.split("_")),
        "api_version": API_VERSION,
        "server_version": version("maskrcnn-server"),
    }
    for source, destination in {**files, **BOTH}.items():
        path = target / Template(destination).substitute(words)
        path.parent.mkdir(parents=True, exist_ok=True)
        if source.endswith(".in"):
            path.write_text(Template((TEMPLATES / source).read_text()).substitute(words))
        else:
            path.write_bytes((TEMPLATES / source).read_bytes())


def _distribution(name: str) -> str:
    return f"maskrcnn-{name.replace('_', '-')}"


def start(files: dict[str, str], name: str, folder: Path | None, then: str) -> None:
    """Write the files and print the first commands to run there; `then` is the last of them."""
    console = Console(soft_wrap=True)
    target = folder or folder_of(name)
    write(files, name, target)
    where = escape(str(target))
    console.print(f"wrote [bold]{where}[/]; its README.md says what is where. Begin with")
    console.print(f"  cd {where} && pip install -e '.\\[dev]' && pytest")
    console.print(f"  {then}")

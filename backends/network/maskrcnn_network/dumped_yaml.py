"""YAML as `yaml.dump` writes values of Python: read as plain values, nothing is executed."""

from pathlib import Path
from typing import Any

from maskrcnn_server import yaml_file

PYTHON = "tag:yaml.org,2002:python"


class Loader(yaml_file.Loader):
    """Also reads tuples, as lists, and texts of Python 2."""


for _kind, _plain in {"tuple": "seq", "unicode": "str", "str": "str", "long": "int"}.items():
    _construct = Loader.yaml_constructors[f"tag:yaml.org,2002:{_plain}"]
    Loader.add_constructor(f"{PYTHON}/{_kind}", _construct)


def read(path: Path) -> Any:
    """The content of a YAML file. Raises NotYaml, and OSError if it cannot be read."""
    return yaml_file.read(path, Loader)

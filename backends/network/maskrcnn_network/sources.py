"""Where the configuration of a network comes from."""

import ast
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from maskrcnn_network.config import NetworkConfig
from maskrcnn_server import yaml_file
from maskrcnn_server.backend import ModelConfig
from maskrcnn_server.errors import InvalidModel, InvalidSetting
from maskrcnn_server.remembering import read_once
from maskrcnn_server.yaml_file import NotYaml

CONFIG_FILE = "config.yaml"
TRAINING_LOG = "log.log"
ENVIRONMENT = "the environment"
DEFAULT = "defaults, assumed"
SHOWN = "TEST.RESULT_SCORE_THRESH_VIS"
"""Key of a training log that is ignored: the server decides what to show."""
MAX_LOG_BYTES = 64 << 20
"""Maximum bytes that are read of a training log."""

_LOGGED = re.compile(r"Config: -+\n(\{.*?\})\s*(?:\n|$)", re.DOTALL)
_NUMPY_SCALAR = re.compile(r"np\.\w+\(([^()]*)\)")


C = TypeVar("C", bound=NetworkConfig)


@dataclass(frozen=True)
class Configuration(Generic[C]):
    """A network's configuration, with the source of each configured value."""

    network: C
    values: Mapping[str, Any]
    """Configured values by key."""
    origins: Mapping[str, str]

    def origin(self, key: str) -> str:
        """The source of a key's value: a file, the environment, or the default."""
        return self.origins.get(key, DEFAULT)


def read(config: ModelConfig, schema: type[C]) -> Configuration[C]:
    """Read each key from the first of: environment, `config.yaml`, TensorPack's `log.log`, default.

    Raises InvalidModel for an invalid file, InvalidSetting for an unknown key or an invalid value,
    naming its source. Unknown keys of the log are ignored: it may be of another version.
    """
    layers: list[tuple[str, dict[str, Any]]] = []
    log, file = (config.model_dir / name for name in (TRAINING_LOG, CONFIG_FILE))
    if log.is_file():
        useful = schema.keys() - schema.without_effect - {SHOWN}
        logged = {
            key: value for key, value in read_once(_training_log, log).items() if key in useful
        }
        layers.append((TRAINING_LOG, logged))
    if file.is_file():
        layers.append((CONFIG_FILE, dict(_config_file(file, schema))))
    for key, literal in config.overrides.items():
        layers.append((ENVIRONMENT, {key: _literal(key, literal)}))
    values: dict[str, Any] = {}
    origins: dict[str, str] = {}
    for origin, layer in layers:
        name = f"CONFIG__{next(iter(layer)).replace('.', '__')}" if origin == ENVIRONMENT else ""
        schema.from_values(layer, name or str(config.model_dir / origin))
        values |= layer
        origins |= dict.fromkeys(layer, origin)
    return Configuration(schema.from_values(values, str(config.model_dir)), values, origins)


def _training_log(path: Path) -> dict[str, Any]:
    """The configuration that TensorPack's `finalize_configs` logged last, as dotted keys.

    It is a dictionary as Python prints it, which is parsed as a literal: nothing is evaluated.
    """
    with path.open(encoding="utf-8", errors="replace") as file:
        text = file.read(MAX_LOG_BYTES)
    logged = _LOGGED.match(text, max(0, text.rfind("Config: -----")))
    if logged is None:
        return {}
    try:
        tree = ast.literal_eval(_NUMPY_SCALAR.sub(r"\1", logged[1]))
    except (ValueError, SyntaxError, MemoryError, RecursionError) as error:
        raise InvalidModel(
            f"{path}: its configuration cannot be read ({error}); remove the file, and put the "
            f"settings that differ from the framework's defaults into {CONFIG_FILE}"
        ) from None
    return dict(_flat(tree, ""))


def _config_file(path: Path, schema: type[NetworkConfig]) -> Iterator[tuple[str, Any]]:
    """Dotted keys and values of a file with the framework's keys, nested or dotted.

    They are at the top level or below `config_inference`. Lower-case keys other than `class_names`
    and the framework's are the author's own, and ignored.
    """
    try:
        content = read_once(yaml_file.read, path)
    except NotYaml as error:
        raise InvalidModel(f"{path}: not YAML ({error})") from None
    if not isinstance(content, dict):
        raise InvalidModel(f"{path}: not a mapping of configuration keys to values")
    keys = {str(key): value for key, value in content.items()}
    if "class_names" in keys:
        yield schema.key("class_names"), keys["class_names"]
    inference = keys.get("config_inference")
    yield from _flat(inference if isinstance(inference, dict) else {}, "")
    known = schema.keys()
    own = {key: value for key, value in keys.items() if key[:1].isupper() or key in known}
    yield from _flat(own, "")


def _flat(tree: Mapping[Any, Any], prefix: str) -> Iterator[tuple[str, Any]]:
    for key, value in tree.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _literal(key: str, literal: str) -> Any:
    try:
        return yaml_file.parse(literal)
    except NotYaml:
        name = f"CONFIG__{key.replace('.', '__')}"
        raise InvalidSetting(f"{name}={literal}: not a YAML literal") from None

"""Where the configuration of a network comes from."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeAlias, TypeVar

from maskrcnn_network.config import NetworkConfig
from maskrcnn_network.literals import flat
from maskrcnn_network.training_log import training_log
from maskrcnn_server import yaml_file
from maskrcnn_server.backend import ModelConfig
from maskrcnn_server.errors import InvalidModel, InvalidSetting
from maskrcnn_server.remembering import read_once
from maskrcnn_server.yaml_file import NotYaml

CONFIG_FILE = "config.yaml"
CONFIG_FILES = (CONFIG_FILE, "config.yml")
"""Names of the configuration, the first that exists counts."""
MAX_BASES = 8
"""Maximum number of configurations below one another."""
TRAINING_LOG = "log.log"
ENVIRONMENT = "the environment"
DEFAULT = "defaults, assumed"
SHOWN = "TEST.RESULT_SCORE_THRESH_VIS"
"""Key of a training log that is ignored: the server decides what to show."""


C = TypeVar("C", bound=NetworkConfig)
Said: TypeAlias = tuple[dict[str, Any], str | None]
"""Values of a text by key, and a note about what is missing."""
Texts: TypeAlias = Mapping[str, Callable[[Path], Said]]
"""Readers of texts by file name; of those that have the same key, the last counts."""


@dataclass(frozen=True)
class Configuration(Generic[C]):
    """A network's configuration, with the source of each configured value."""

    network: C
    values: Mapping[str, Any]
    """Configured values by key."""
    origins: Mapping[str, str]
    notes: list[str] = field(default_factory=list)
    """What was found and has no effect."""

    def origin(self, key: str) -> str:
        """The source of a key's value: a file, the environment, or the default."""
        return self.origins.get(key, DEFAULT)


def read(config: ModelConfig, schema: type[C], texts: Texts | None = None) -> Configuration[C]:
    """Read each key from the first of: environment, `config.yaml`, `texts`, default.

    Raises InvalidModel for an invalid file, InvalidSetting for an unknown key or an invalid value,
    naming its source. What has no effect though it might be meant to is in the notes: unknown keys
    of texts, which may be of another version, and sections of other programs in the file.
    """
    notes: list[str] = []
    layers: list[tuple[str, dict[str, Any]]] = []
    file = config_file(config.model_dir)
    texts = TEXTS if texts is None else texts
    for name, reader in texts.items():
        text = config.model_dir / name
        if not text.is_file():
            continue
        said, note = read_once(reader, text)
        notes += [note] if note else []
        current = _renamed(said, schema)
        layers.append((name, {k: v for k, v in current.items() if _useful(k, schema)}))
        unknown = [k for k in current if k not in schema.keys() | {SHOWN}]
        notes += _passed_over(name, unknown)
    if file is not None:
        values = _renamed(dict(_config_file(file, schema, notes)), schema)
        foreign = [key for key in values if schema.is_foreign(key)]
        notes += _passed_over(file.name, foreign)
        layers.append((file.name, {k: v for k, v in values.items() if k not in foreign}))
    notes += _not_read(config.model_dir, {name for name, _ in layers})
    notes += _logs_not_read(config.model_dir, texts)
    for key, literal in config.overrides.items():
        layers.append((ENVIRONMENT, _renamed({key: _literal(key, literal)}, schema)))
    values = {}
    origins: dict[str, str] = {}
    for origin, layer in layers:
        name = f"CONFIG__{next(iter(layer)).replace('.', '__')}" if origin == ENVIRONMENT else ""
        schema.from_values(layer, name or str(config.model_dir / origin))
        values |= layer
        origins |= dict.fromkeys(layer, origin)
    network = schema.from_values(values, str(config.model_dir))
    return Configuration(network, values, origins, notes)


def config_file(model_dir: Path) -> Path | None:
    """The configuration in a model folder, if there is one."""
    files = (model_dir / name for name in CONFIG_FILES)
    return next((path for path in files if path.is_file()), None)


def _useful(key: str, schema: type[NetworkConfig]) -> bool:
    return key in schema.keys() - schema.without_effect - {SHOWN}


def _renamed(values: Mapping[str, Any], schema: type[NetworkConfig]) -> dict[str, Any]:
    """Values by the keys of today; where the old and the new key are there, the new one counts."""
    former = schema.former_keys
    old = {former[key]: value for key, value in values.items() if key in former}
    return old | {key: value for key, value in values.items() if key not in former}


def _passed_over(source: str, keys: list[str]) -> list[str]:
    if not keys:
        return []
    some = ", ".join(keys[:6]) + (f" and {len(keys) - 6} more" if len(keys) > 6 else "")
    return [f"{source}: not known here, and passed over: {some}"]


def _not_read(model_dir: Path, read: set[str]) -> list[str]:
    """A note about other files of this kind, of which nobody knows whether they are meant."""
    files = sorted(model_dir.glob("[!.]*.y*ml"))
    names = [path.name for path in files if path.suffix in (".yaml", ".yml")]
    others = [name for name in names if name not in read]
    hint = "" if read.intersection(names) else f"; rename the one that is meant to {CONFIG_FILE}"
    return [f"not read: {', '.join(others[:6])}{hint}"] if others else []


def _logs_not_read(model_dir: Path, texts: Texts) -> list[str]:
    """A note about logs of other names, where there is none of the right one."""
    if TRAINING_LOG not in texts or any((model_dir / name).is_file() for name in texts):
        return []
    found = {*model_dir.glob("*.[lL][oO][gG]*"), *model_dir.glob("*log*.txt*")}
    logs = sorted(path.name for path in found if path.is_file() and path.name[0] != ".")
    names = ", ".join(logs[:6])
    return [f"not read: {names}; rename that of the training to {TRAINING_LOG}"] if names else []


TEXTS: Texts = {f"{TRAINING_LOG}.gz": training_log, TRAINING_LOG: training_log}
"""What TensorPack's training writes."""


def _config_file(
    path: Path, schema: type[NetworkConfig], notes: list[str]
) -> Iterator[tuple[str, Any]]:
    """Dotted keys and values of a file with the framework's keys, nested or dotted.

    They are at the top level or below `config_inference`. The author's own keys, in lower case
    where the framework's are not, are named in `notes`.
    """
    keys = read_content(path, schema.read_yaml, notes, MAX_BASES)
    if "class_names" in keys:
        yield schema.key("class_names"), keys.pop("class_names")
    inference = keys.pop("config_inference", None)
    yield from flat(inference if isinstance(inference, dict) else {}, "")
    known = schema.keys()
    shouted = [key for key in known if key.isupper()]
    sections = {key.partition(".")[0] for key in known}
    parents = {place for key in known for place in _parents(key)}
    own = []
    for key, value in keys.items():
        framework = key[:1].isupper() or key in known or not shouted or key.upper() in sections
        if not framework and schema.nearest(key) is None:
            own.append(key)
        else:
            # A section without keys is null.
            pairs = flat({key: value}, "")
            yield from (pair for pair in pairs if pair[1] is not None or pair[0] not in parents)
    notes += _passed_over(path.name, own)


def _parents(key: str) -> Iterator[str]:
    """The sections that a dotted key is in."""
    while "." in key:
        key = key.rpartition(".")[0]
        yield key


def read_content(
    path: Path, reader: Callable[[Path], Any], notes: list[str], bases: int
) -> dict[str, Any]:
    """The content of a configuration, on top of that of at most `bases` of its `_BASE_`s.

    Raises InvalidModel unless it is a mapping in YAML. What is missing is in `notes`.
    """
    try:
        content = read_once(reader, path)
    except NotYaml as error:
        raise InvalidModel(f"{path}: not YAML ({error})") from None
    if not isinstance(content, dict):
        raise InvalidModel(f"{path}: not a mapping of configuration keys to values")
    keys = {str(key): value for key, value in content.items()}
    base = keys.pop("_BASE_", None)
    if base is None:
        return keys
    file = path.parent / Path(str(base)).name
    if bases and file.is_file() and file != path:
        return _merged(read_content(file, reader, notes, bases - 1), keys)
    notes.append(
        f"{path.name} is based on {base}, which is not here and not read: put it next to the file"
    )
    return keys


def _merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Both trees in one; where both have a value, that from above."""
    merged = dict(below)
    for key, value in above.items():
        old = merged.get(key)
        merged[key] = (
            _merged(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
        )
    return merged


def _literal(key: str, literal: str) -> Any:
    try:
        return yaml_file.parse(literal)
    except NotYaml:
        name = f"CONFIG__{key.replace('.', '__')}"
        raise InvalidSetting(f"{name}={literal}: not a YAML literal") from None

"""Where the configuration of a network comes from."""

import ast
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeAlias, TypeVar

from maskrcnn_network.config import NetworkConfig
from maskrcnn_server import yaml_file
from maskrcnn_server.backend import ModelConfig
from maskrcnn_server.errors import InvalidModel, InvalidSetting
from maskrcnn_server.remembering import read_once
from maskrcnn_server.work import STEP_BYTES, meter
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
MAX_LOG_BYTES = 64 << 20
"""Maximum bytes that are read of a training log."""
MAX_LOGGED_BYTES = 256 << 10
"""Maximum bytes of the configuration in a training log, with the lines of other processes."""
MAX_LINE_BYTES = 4 << 10
"""Maximum bytes of the line with which the configuration begins, before that beginning."""

_BEGINNING = "Config: -----"
_LOGGED = re.compile(r"Config: -+\n(\{.*?\})\s*(?:\n|$)", re.DOTALL)
_RANK = re.compile(r"^(\[\d+,[^\]]{1,80}\])<std\w+>:", re.MULTILINE)
"""What mpirun writes before each line: `[1,0]<stdout>:`, on SageMaker `[1,mpirank:0,algo-1]`."""
_NUMPY_SCALAR = re.compile(r"np\.\w{1,20}\(([^()]{0,100})\)")


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
    for name, reader in (TEXTS if texts is None else texts).items():
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


def _training_log(path: Path) -> Said:
    """The configuration that TensorPack's `finalize_configs` logged last, as dotted keys; or a note
    why there is none.

    It is a dictionary as Python prints it, which is parsed as a literal: nothing is evaluated.
    """
    text = last_logged(path, _BEGINNING)
    if text is None:
        return {}, f"{path.name} holds no configuration: defaults are assumed"
    logged = _LOGGED.match(text)
    if logged is None:
        return {}, f"{path.name} breaks off inside its configuration: defaults are assumed"
    try:
        tree = ast.literal_eval(_NUMPY_SCALAR.sub(r"\1", logged[1]))
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError) as error:
        raise InvalidModel(
            f"{path}: its configuration cannot be read ({error}); remove the file, and put the "
            f"settings that differ from the framework's defaults into {CONFIG_FILE}"
        ) from None
    return dict(flat(tree, "")), None


TEXTS: Texts = {TRAINING_LOG: _training_log}
"""What TensorPack's training writes."""


def last_logged(path: Path, beginning: str) -> str | None:
    """The end of a log from where `beginning` stands last, as far as a configuration may reach:
    UTF-8, or UTF-16 as PowerShell writes it, without what mpirun adds. None: it stands nowhere.

    Of several processes in one log, the one that logged the last configuration counts.
    """
    counter = meter(path)
    with path.open("rb") as file:
        data = file.read(MAX_LOG_BYTES)
    counter.spend(len(data) // STEP_BYTES)
    encoding = "utf-8"
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        encoding = "utf-16-le" if data[0] == 0xFF else "utf-16-be"
    start = data.rfind(beginning.encode(encoding))
    if start < 0:
        return None
    # A multiple of four bytes, so that both encodings stay in step.
    before = data[max(0, start - MAX_LINE_BYTES) : start].decode(encoding, errors="replace")
    after = data[start : start + MAX_LOGGED_BYTES].decode(encoding, errors="replace")
    line = before.rpartition("\n")[2]
    text = after.replace("\r\n", "\n")
    counter.spend(len(text) // 2)
    rank = _RANK.match(line)
    if rank is None:
        return text
    own = re.compile(rf"{re.escape(rank[1])}<std\w+>: ?")
    first, *others = text.split("\n")
    lines = (own.match(other) for other in others)
    return "\n".join([first, *(found.string[found.end() :] for found in lines if found)])


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
    own = []
    for key, value in keys.items():
        framework = key[:1].isupper() or key in known or not shouted or key.upper() in sections
        if not framework and schema.nearest(key) is None:
            own.append(key)
        else:
            yield from flat({key: value}, "")
    notes += _passed_over(path.name, own)


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


def flat(tree: Mapping[Any, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """The values of nested mappings by dotted keys."""
    for key, value in tree.items():
        if isinstance(value, dict):
            yield from flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _literal(key: str, literal: str) -> Any:
    try:
        return yaml_file.parse(literal)
    except NotYaml:
        name = f"CONFIG__{key.replace('.', '__')}"
        raise InvalidSetting(f"{name}={literal}: not a YAML literal") from None

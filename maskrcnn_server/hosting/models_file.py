"""`models.yaml`: the models of one server by name, each with settings of its own."""

import difflib
import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, TypeAlias, TypeVar

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from maskrcnn_server.backend import Isolation, Precision
from maskrcnn_server.errors import InvalidSetting
from maskrcnn_server.settings import DeviceName, EngineName, ModelSettings, Settings

MAX_BYTES = 1 << 20
NAME = r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}"
SUFFIXES = (".yaml", ".yml")
ELSEWHERE = re.compile(r"[a-z0-9]+://|[a-z0-9][a-z0-9_-]*:[A-Za-z0-9_.-]+$")
"""An address, or a name of the zoo: nothing that is relative to a folder."""


def _flat(value: object) -> object:
    """A tree of YAML as the environment has it: dotted keys to literals, which are JSON."""
    return dict(_leaves("", value)) if isinstance(value, dict) else value


def _leaves(prefix: str, tree: Mapping[object, object]) -> Iterator[tuple[str, str]]:
    for key, value in tree.items():
        if isinstance(value, dict):
            yield from _leaves(f"{prefix}{key}.", value)
        else:
            yield f"{prefix}{key}", value if isinstance(value, str) else json.dumps(value)


Literals: TypeAlias = Annotated[Mapping[str, str], BeforeValidator(_flat)]
T = TypeVar("T")
Positive: TypeAlias = Annotated[T, Field(gt=0)]


class Defaults(BaseModel):
    """What holds for every model that does not say otherwise. Unset: as the server's settings."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    backend: str | None = Field(None, description="Name of the backend.")
    engine: EngineName | None = Field(None, description="Name of the engine, as in the settings.")
    device: DeviceName | None = Field(None, description="`auto`, `cpu`, `cuda` or `cuda:N`.")
    precision: Precision | None = Field(
        None, description="`float32`, `tf32`, `float16`, `bfloat16` or `int8`."
    )
    streams: Positive[int] | None = Field(
        None, description="Images that a CPU computes side by side."
    )
    threads: Positive[int] | None = Field(None, description="Threads that compute.")
    resnet_arch: str | None = Field(None, description="Architecture you expect.")
    score_threshold: Annotated[float, Field(ge=0, le=1)] | None = Field(
        None, description="Default score threshold."
    )
    isolation: Isolation | None = Field(None, description="`none` or `process`.")
    predict_timeout_s: Positive[float] | None = Field(
        None, description="Seconds that it may compute one request."
    )
    load_timeout_s: Positive[float] | None = Field(
        None, description="Seconds that it may take to load."
    )
    memory_limit_mb: Positive[int] | None = Field(
        None, description="Memory in MiB of its process, if it is isolated."
    )
    max_waiting: Annotated[int, Field(ge=0)] | None = Field(
        None, description="Requests that may wait for it."
    )
    max_batch: Annotated[int, Field(gt=0, le=64)] | None = Field(
        None, description="Requests that it computes in one call at most."
    )
    config: Literals = Field({}, description="The framework's configuration, as in `CONFIG__A__B`.")
    options: Literals = Field({}, description="The backend's options, such as `variant: tf1`.")


class Entry(Defaults):
    """One model."""

    model: str = Field(
        min_length=1,
        description="Where it is, as in `MASKRCNN_MODEL`. A path is relative to the file's folder.",
    )
    required: bool = Field(
        False, description="Whether the server ends if this model cannot be loaded."
    )
    default: bool = Field(
        False, description="Whether requests that name no model are for this one."
    )


OWN = {"model", "required", "default", "config", "options"}
"""Keys of an entry that are no settings of a server, or more than that."""


class _File(BaseModel):
    model_config = Defaults.model_config

    defaults: Defaults = Defaults()
    models: dict[Annotated[str, Field(pattern=f"^{NAME}$")], Entry] = Field(min_length=1)


@dataclass(frozen=True, kw_only=True)
class Spec:
    """A model that is to be served."""

    name: str
    settings: ModelSettings
    required: bool
    default: bool


def read_models(path: Path, settings: Settings) -> list[Spec]:
    """The models that a file names, in its order; what it does not say of one, `settings` say.

    Raises InvalidSetting, with everything that is wrong with the file.
    """
    try:
        file = _File.model_validate(_loaded(path))
    except ValidationError as error:
        problems = [_problem(e["loc"], e["type"], e["msg"]) for e in error.errors()]
        raise _refused(path, problems) from None
    specs = [
        _spec(name, entry, file.defaults, path, settings) for name, entry in file.models.items()
    ]
    problems = [
        f"models.{spec.name}.memory_limit_mb: needs isolation: process"
        for spec in specs
        if file.models[spec.name].memory_limit_mb and spec.settings.isolation == "none"
    ]
    defaults = [spec.name for spec in specs if spec.default]
    if len(defaults) > 1:
        problems.append(f"{' and '.join(defaults)} are both the default")
    if problems:
        raise _refused(path, problems)
    return specs


def _spec(name: str, entry: Entry, defaults: Defaults, path: Path, settings: Settings) -> Spec:
    given = defaults.model_dump(exclude_none=True) | entry.model_dump(exclude_none=True)
    values = {key: value for key, value in given.items() if key not in OWN}
    place = Path(entry.model).expanduser()
    here = path.parent / place
    elsewhere = ELSEWHERE.match(entry.model) is not None and not here.exists()
    return Spec(
        name=name,
        settings=ModelSettings.model_construct(
            **dict(settings)
            | values
            | {
                "model": entry.model if elsewhere else str(here),
                "config": {**defaults.config, **entry.config},
                "options": {**defaults.options, **entry.options},
            }
        ),
        required=entry.required,
        default=entry.default,
    )


def _loaded(path: Path) -> object:
    try:
        with path.open("rb") as file:
            text = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise InvalidSetting(f"{path}: {error.strerror}") from None
    if len(text) > MAX_BYTES:
        raise _refused(path, [f"larger than {MAX_BYTES >> 20} MiB"])
    try:
        return yaml.load(text, _Loader)  # noqa: S506 (it is a SafeLoader)
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise _refused(path, [" ".join(str(error).split())[:500]]) from None


class _Loader(yaml.SafeLoader):
    """Refuses a key that comes twice, and aliases, a few of which make a document of any size."""

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]
            raise yaml.MarkedYAMLError(
                problem="aliases are not read: use defaults", problem_mark=mark
            )
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = Counter(str(key.value) for key, _ in node.value)
        twice = next((key for key, _ in node.value if keys[str(key.value)] > 1), None)
        if twice is not None:
            problem = f"the key {twice.value} comes twice"
            raise yaml.MarkedYAMLError(problem=problem, problem_mark=twice.start_mark)
        return super().construct_mapping(node, deep)


def _problem(where: tuple[int | str, ...], kind: str, message: str) -> str:
    """What is wrong with one key."""
    parts = [str(part) for part in where if part != "[key]"]
    key = ".".join(parts)[:200] or "the file"
    if kind == "extra_forbidden":
        known = _File if len(parts) == 1 else Defaults if parts[0] == "defaults" else Entry
        nearest = difflib.get_close_matches(parts[-1], known.model_fields, n=1, cutoff=0)[0]
        return f"{key}: no such key; the nearest is {nearest}"
    if kind == "model_type":
        return f"{key}: must have keys and values"
    if kind == "string_pattern_mismatch":
        return f"{key}: a name has up to 63 letters, digits, and - _ . after the first"
    return f"{key}: {message}"


def _refused(path: Path, problems: list[str]) -> InvalidSetting:
    return InvalidSetting(f"{path}: {'; '.join(problems)}")

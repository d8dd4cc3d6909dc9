"""`models.yaml`: the models of one server by name, each with settings of its own."""

import difflib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, Field, ValidationError

from maskrcnn_server import yaml_file
from maskrcnn_server.declaring import FROZEN
from maskrcnn_server.errors import InvalidSetting
from maskrcnn_server.settings import ModelDefaults, ModelSettings
from maskrcnn_server.yaml_file import NotYaml

NAME = r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}"
SUFFIXES = (".yaml", ".yml")
ELSEWHERE = re.compile(r"[a-z0-9]+://|[a-z0-9][a-z0-9_-]*:[A-Za-z0-9_.-]+$")
"""An address, or a name of the zoo: nothing that is relative to a folder."""


class Entry(ModelSettings):
    """One model."""

    address: str = Field(alias="model", min_length=1)
    """Address of the model, as in `MASKRCNN_MODEL`. A path is relative to the file's folder."""
    required: bool = False
    """Whether the server ends if this model cannot be loaded."""
    default: bool = False
    """Whether requests that name no model are for this one."""


class _File(BaseModel):
    model_config = FROZEN

    defaults: ModelDefaults = ModelDefaults()
    models: dict[Annotated[str, Field(pattern=f"^{NAME}$")], Entry] = Field(min_length=1)


@dataclass(frozen=True, kw_only=True)
class Spec:
    """A model that is to be served."""

    name: str
    settings: ModelSettings
    required: bool
    default: bool


def read_models(path: Path, model: ModelSettings) -> list[Spec]:
    """The models that a file names, in its order; what it does not say of one, `model` says.

    Raises InvalidSetting, with everything that is wrong with the file.
    """
    try:
        file = _File.model_validate(yaml_file.read(path))
    except OSError as error:
        raise InvalidSetting(f"{path}: {error.strerror}") from None
    except NotYaml as error:
        raise _refused(path, [str(error)]) from None
    except ValidationError as error:
        problems = [_problem(e["loc"], e["type"], e["msg"]) for e in error.errors()]
        raise _refused(path, problems) from None
    specs = [
        Spec(
            name=name,
            settings=_settled(model.over(file.defaults).over(entry), path.parent),
            required=entry.required,
            default=entry.default,
        )
        for name, entry in file.models.items()
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


def _settled(settings: ModelSettings, folder: Path) -> ModelSettings:
    """With a path that is relative to a folder as one that is not."""
    here = folder / Path(settings.address).expanduser()
    if ELSEWHERE.match(settings.address) and not here.exists():
        return settings
    return settings.model_copy(update={"address": str(here)})


def _problem(where: tuple[int | str, ...], kind: str, message: str) -> str:
    """The problem with one key, in words."""
    parts = [str(part) for part in where if part != "[key]"]
    key = ".".join(parts)[:200] or "the file"
    if kind == "extra_forbidden":
        schema = _File if len(parts) == 1 else ModelDefaults if parts[0] == "defaults" else Entry
        known = [info.alias or name for name, info in schema.model_fields.items()]
        nearest = difflib.get_close_matches(parts[-1], known, n=1, cutoff=0)[0]
        return f"{key}: no such key; the nearest is {nearest}"
    if kind == "model_type":
        return f"{key}: must have keys and values"
    if kind == "string_pattern_mismatch":
        return f"{key}: a name has up to 63 letters, digits, and - _ . after the first"
    return f"{key}: {message}"


def _refused(path: Path, problems: list[str]) -> InvalidSetting:
    return InvalidSetting(f"{path}: {'; '.join(problems)}")

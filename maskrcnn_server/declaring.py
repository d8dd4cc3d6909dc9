"""How a setting is declared: its variables, and what their texts become.

Its description is its docstring.
"""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Annotated, TypeAlias

from pydantic import BeforeValidator, ConfigDict, Field


class Variables:
    """The environment variables of a setting: the documented one, then older containers' and
    SageMaker's. By default a setting has one: `MASKRCNN_` and its name, without `_s`."""

    def __init__(self, *names: str) -> None:
        self.names = names


def _flat(value: object) -> object:
    """A tree of YAML as the environment has it: dotted keys to literals, which are JSON."""
    return dict(_leaves("", value)) if isinstance(value, dict) else value


def _leaves(prefix: str, tree: Mapping[object, object]) -> Iterator[tuple[str, str]]:
    for key, value in tree.items():
        if isinstance(value, dict):
            yield from _leaves(f"{prefix}{key}.", value)
        else:
            yield f"{prefix}{key}", value if isinstance(value, str) else json.dumps(value)


def _listed(text: object) -> object:
    """The parts of a text between commas."""
    if not isinstance(text, str):
        return text
    return tuple(part.strip().lower().rstrip("/") for part in text.split(",") if part.strip())


def printable(key: object) -> object:
    """A key that can be sent in a header."""
    if isinstance(key, str) and re.fullmatch("[!-~]+", key) is None:
        raise ValueError("printable ASCII without spaces only")
    return key


Listed: TypeAlias = Annotated[tuple[str, ...], BeforeValidator(_listed)]
Literals: TypeAlias = Annotated[Mapping[str, str], BeforeValidator(_flat)]
Number: TypeAlias = Annotated[int, Field(gt=0)]
Seconds: TypeAlias = Annotated[float, Field(gt=0, le=3600)]
FROZEN = ConfigDict(
    extra="forbid", frozen=True, hide_input_in_errors=True, use_attribute_docstrings=True
)

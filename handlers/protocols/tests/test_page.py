"""docs/protocols.md against the settings, the outputs, the options and the routes."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest

from maskrcnn_protocols.open_inference.outputs import SHAPES
from maskrcnn_protocols.options import NAMES
from maskrcnn_protocols.plugin import register_routes
from maskrcnn_protocols.settings import ProtocolSettings, variable
from maskrcnn_server.extensions import HasAddresses

if TYPE_CHECKING:
    from protocol_fixtures import Served

    from maskrcnn_server.extensions import Routes

PAGE = (Path(__file__).parents[3] / "docs/protocols.md").read_text()


@pytest.mark.parametrize("name", ProtocolSettings.model_fields)
def test_a_setting_has_its_row(name: str) -> None:
    field = ProtocolSettings.model_fields[name]
    shown = "" if field.default in (None, ()) else f"`{field.default}`"
    assert f"| `{variable(name)}` | {shown} | {field.description} |" in PAGE


def test_no_other_variable_is_described() -> None:
    named = set(re.findall(r"PROTOCOLS_[A-Z_]*[A-Z]", PAGE))
    assert named == {variable(name) for name in ProtocolSettings.model_fields}


def test_every_output_and_option_is_described() -> None:
    for name in (*SHAPES, *NAMES):
        assert f"`{name}`" in PAGE


def test_what_serve_prints_is_answered(served: Served) -> None:
    sets: list[Routes] = []
    register_routes(sets.append)
    printed: dict[str, str] = {}
    for one in sets:
        printed |= dict(one.addresses) if isinstance(one, HasAddresses) else {}
    assert len(printed) >= 5
    for path in printed.values():
        assert path == "/" or httpx.get(served.url + path).status_code != 404, path

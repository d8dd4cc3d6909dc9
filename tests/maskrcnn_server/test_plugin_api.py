"""What was promised to plugins is still there. `python tests/maskrcnn_server/test_plugin_api.py`
writes what there is, for a new version of the interface."""

import dataclasses
import importlib
import inspect
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from maskrcnn_server import API_VERSION

MODULES = {
    **dict.fromkeys(
        (
            "hookspecs backend engine extensions categories detections masks rle formats errors "
            "agreement stopwatch keys"
        ).split(),
        "maskrcnn_server",
    ),
    "local": "maskrcnn_predict",
}
"""Modules of the interface, and the packages that they are in."""
PROMISED = Path(__file__).with_name("plugin_api.txt")
PAGES = (Path(__file__).parents[2] / "docs/reference").glob("*.md")


def described(name: str, thing: object) -> Iterator[str]:
    """Lines about a public name and, of a class, its public members."""
    if inspect.isfunction(thing):
        yield f"{name}({', '.join(parameters(thing))})"
    elif inspect.isclass(thing):
        yield f"{name}({', '.join(base.__name__ for base in thing.__bases__)})"
        fields = dataclasses.fields(thing) if dataclasses.is_dataclass(thing) else ()
        for field in fields:
            is_needed = field.default is field.default_factory is dataclasses.MISSING
            yield f"{name}.{field.name}{'' if is_needed else ' = default'}"
        for member, value in vars(thing).items():
            if member not in {field.name for field in fields} and public(member):
                inside = value.fget if isinstance(value, property) else value
                if inspect.isfunction(inside):
                    yield from described(f"{name}.{member}", inside)
    else:
        yield name


def parameters(function: object) -> Iterator[str]:
    assert callable(function)
    for parameter in inspect.signature(function).parameters.values():
        default = "" if parameter.default is inspect.Parameter.empty else " = default"
        yield f"{parameter.name}{default}"


def public(name: str) -> bool:
    return not name.startswith(("_", "test_"))


def surface() -> list[str]:
    """The interface as it is, a line for each thing that has a name."""
    lines: list[str] = []
    for module_name, package in MODULES.items():
        module = importlib.import_module(f"{package}.{module_name}")
        for name, thing in vars(module).items():
            home = getattr(thing, "__module__", module.__name__)
            imported = inspect.ismodule(thing) or home != module.__name__
            if public(name) and not imported:
                lines += described(f"{module_name}.{name}", thing)
    return sorted(lines)


@pytest.fixture(scope="module")
def promised() -> list[str]:
    version, *lines = PROMISED.read_text().splitlines()
    assert version.split(".")[0] == API_VERSION.split(".")[0]
    return lines


def test_what_was_promised_is_there(promised: list[str]) -> None:
    """Else it is a new major version of the interface."""
    assert sorted(set(promised) - set(surface())) == []


def test_what_is_new_can_be_done_without(promised: list[str]) -> None:
    """A plugin of this major version has no method, and sets no field, that came later."""
    new = set(surface()) - set(promised)
    for line in promised:
        owner, _, bases = line.partition("(")
        needed = r"\w+\(.*" if bases == "Protocol)" else r"\w+"
        surplus = {it for it in new if re.fullmatch(rf"{re.escape(owner)}\.{needed}", it)}
        assert surplus == set(), f"{owner} was promised without"


def test_every_module_of_the_interface_is_in_the_reference() -> None:
    shown = "\n".join(page.read_text() for page in PAGES)
    for module, package in MODULES.items():
        assert re.search(rf"^::: {package}\.{module}\b", shown, re.MULTILINE), module


if __name__ == "__main__":
    PROMISED.write_text("\n".join([API_VERSION, *surface(), ""]))

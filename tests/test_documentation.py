"""What the documentation must mention."""

import re
from pathlib import Path

import pytest
from typer.main import get_command

from maskrcnn_handlers.cli.main import program
from maskrcnn_server import errors, hookspecs
from maskrcnn_server.hosting.models_file import Entry
from maskrcnn_server.plugins import Plugins
from maskrcnn_server.settings import IGNORED, settings_by_name, variable_names

app = program(Plugins())

ROOT = Path(__file__).parents[1]
ERRORS = [
    thing
    for thing in vars(errors).values()
    if isinstance(thing, type) and issubclass(thing, errors.MaskRCNNError)
]
PAGES = sorted(
    path
    for pattern in ("*.md", "docs/**/*.md", "backends/*/README.md", "handlers/*/README.md")
    for path in ROOT.glob(pattern)
)
OLD_WORDS = re.compile(r"\b(pictures?|beside)\b", re.IGNORECASE)
"""Words that the glossary replaces."""


def page(name: str) -> str:
    return (ROOT / "docs" / name).read_text()


def rows(name: str) -> dict[str, list[str]]:
    """The cells of each table row of a page after the first, by the first without backquotes."""
    lines = re.findall(r"^\| (.+) \|$", page(name), re.MULTILINE)
    cells = [[cell.strip() for cell in line.split(" | ")] for line in lines]
    return {first.strip("`"): others for first, *others in cells}


@pytest.mark.parametrize("hook", [n for n in vars(hookspecs) if n.startswith("register_")])
def test_hook_is_documented(hook: str) -> None:
    assert all(rows("plugins.md")[hook])


@pytest.mark.parametrize("field", variable_names())
def test_setting_is_documented_with_its_aliases_and_default(field: str) -> None:
    first, *others = variable_names()[field]
    default = settings_by_name()[field].default
    aliases, shown, meaning = rows("settings.md")[first]
    assert re.findall(r"`(\w+)`", aliases) == others
    assert shown == ("" if default is None else f"`{default}`")
    assert meaning


@pytest.mark.parametrize("name", IGNORED)
def test_ignored_variable_is_documented(name: str) -> None:
    assert re.search(rf"^\* `{name}`: \w+", page("settings.md"), re.MULTILINE)


@pytest.mark.parametrize("command", get_command(app).commands)  # type: ignore[attr-defined]
def test_command_is_documented(command: str) -> None:
    assert re.search(rf"^\| `{command}[ `]", page("cli.md"), re.MULTILINE)


@pytest.mark.parametrize("error", ERRORS, ids=lambda e: e.__name__)
def test_error_is_documented(error: type[errors.MaskRCNNError]) -> None:
    assert re.search(rf"\| `{error.code}` \| \S", page("contract.md"))


@pytest.mark.parametrize("path", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_links_between_pages_lead_somewhere(path: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", path.read_text()):
        if not target.startswith("http"):
            assert (path.parent / target).exists(), target


def test_readme_begins_with_the_two_commands() -> None:
    commands = re.findall(r"^make (\w+)$", (ROOT / "README.md").read_text(), re.MULTILINE)
    assert commands[:2] == ["demo", "test"]


@pytest.mark.parametrize("field", Entry.model_fields)
def test_key_of_a_model_is_documented(field: str) -> None:
    assert all(rows("several_models.md")[Entry.model_fields[field].alias or field])


@pytest.mark.parametrize("path", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_pages_use_the_words_of_the_glossary(path: Path) -> None:
    if path.name != "CHANGELOG.md":
        prose = re.sub(r"```.*?^```|`[^`\n]*`|\]\([^)]*\)", "", path.read_text(), flags=re.M | re.S)
        assert not OLD_WORDS.findall(prose)

"""The documentation's site, built as `make docs` does."""

import ast
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import pytest
from typer.main import get_group

from maskrcnn_handlers.cli.main import program
from maskrcnn_server.plugins import Plugins

pytestmark = pytest.mark.full

app = program(Plugins())

ROOT = Path(__file__).parents[2]
INTERFACE = (
    *("hookspecs", "backend", "engine", "extensions", "formats"),
    *("detections", "masks", "rle", "errors"),
)
FETCHED = {"script": "src", "img": "src", "iframe": "src", "source": "src", "link": "href"}
"""By tag, the attribute with the address of what a browser fetches without being asked."""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    config = ROOT / "build_tools/docs/mkdocs.yml"
    subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "-f", str(config), "-d", str(folder)],
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        check=True,
    )
    return folder


class Fetches(HTMLParser):
    """Collects the addresses of what a page fetches."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.addresses: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.addresses += [value or "" for name, value in attrs if name == FETCHED.get(tag)]


def ids(page: Path) -> set[str]:
    return set(re.findall(r'\bid="([^"]+)"', page.read_text()))


def public(module: str) -> Iterator[str]:
    """The public classes and functions of a module of the waist."""
    for node in ast.parse((ROOT / f"maskrcnn_server/{module}.py").read_text()).body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef) and not node.name.startswith("_"):
            yield f"maskrcnn_server.{module}.{node.name}"


def test_pages_fetch_nothing_from_other_hosts(site: Path) -> None:
    pages = {path: path.read_text() for path in site.rglob("*.html")}
    fetched = {address for page in pages.values() for address in Fetches(page).addresses}
    for style in site.rglob("*.css"):
        fetched |= set(re.findall(r"""url\(["']?([^"')]+)""", style.read_text()))
    assert fetched
    assert not [address for address in fetched if re.match(r"(https?:)?//", address)]
    # The theme would fetch the program that draws these.
    assert not [path for path, page in pages.items() if 'class="mermaid"' in page]


def test_search_works_in_pages_that_are_opened_from_a_folder(site: Path) -> None:
    assert (site / "search/search_index.js").is_file()
    assert "iframe-worker/shim.js" in Fetches((site / "index.html").read_text()).addresses
    assert (site / "iframe-worker/shim.js").is_file()


@pytest.mark.parametrize("command", get_group(app).commands)
def test_every_command_has_its_options(command: str, site: Path) -> None:
    assert f"maskrcnn-server-{command}" in ids(site / "cli.html")


@pytest.mark.parametrize("module", INTERFACE)
def test_reference_has_every_public_name(module: str, site: Path) -> None:
    shown = set[str]().union(*(ids(page) for page in site.glob("reference/*.html")))
    assert set(public(module)) <= shown


def test_docstrings_are_markdown(site: Path) -> None:
    """A doctest would be three quotations in each other: indent the code instead."""
    assert not [page for page in site.glob("reference/*.html") if "<blockquote" in page.read_text()]


def test_first_page_is_the_readme(site: Path) -> None:
    page = (site / "index.html").read_text()
    assert 'id="maskrcnn_server"' in page
    assert 'href="tutorial.html"' in page

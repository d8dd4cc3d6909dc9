"""What the site has besides `docs`: other pages, linked files, and the commands' options.

Links are written for the repository, where they lead from file to file. In the site, the files of
`docs` are at the top, README.md is `overview.md`, and any other file keeps its path.
"""

import os
import re
from importlib.metadata import version
from pathlib import Path

import typer
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files, InclusionLevel
from mkdocs.structure.pages import Page
from typer.cli import get_docs_for_click

from maskrcnn_handlers.cli.main import program
from maskrcnn_server.plugins import Plugins

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
README = ROOT / "README.md"
PAGES = [*ROOT.glob("*.md"), *ROOT.glob("backends/*/README.md"), *ROOT.glob("handlers/*/README.md")]
"""Pages outside `docs`."""
LINK = re.compile(r"(?<=\]\()[^)#\s]+")
"""Target of a link, without the anchor."""


def on_config(config: MkDocsConfig) -> None:
    """Say at the end of each page which version it is of."""
    config.copyright = f"maskrcnn_server {version('maskrcnn-server')}, Apache-2.0"


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages outside `docs`, the files that they link to, and so on."""
    sources = [*PAGES, *(Path(str(page.abs_src_path)) for page in files.documentation_pages())]
    for source in sources:
        if _place(source) not in files.src_uris:
            file = File.generated(config, _place(source), abs_src_path=str(source))
            if source not in PAGES:
                file.inclusion = InclusionLevel.NOT_IN_NAV
            files.append(file)
        if source.suffix == ".md":
            linked = (_target(source, link) for link in LINK.findall(source.read_text()))
            sources += [path for path in linked if path is not None and path not in sources]
    return files


def on_page_markdown(markdown: str, page: Page, **_: object) -> str:
    """Rewrite links for the site, and list the commands' options."""
    source = Path(str(page.file.abs_src_path))

    def moved(link: re.Match[str]) -> str:
        target = _target(source, link[0])
        here = Path(page.file.src_uri).parent
        return link[0] if target is None else os.path.relpath(_place(target), here)

    return LINK.sub(moved, markdown) + (_options() if page.file.src_uri == "cli.md" else "")


def on_page_content(html: str, page: Page, **_: object) -> str:
    """Hide the table of contents of pages without sections, which are wide tables."""
    if not any(section.children for section in page.toc):
        page.meta["hide"] = ["toc"]
    return html


def _place(path: Path) -> str:
    """Place in the site of a file of the repository."""
    if path == README:
        return "overview.md"
    return path.relative_to(DOCS if path.is_relative_to(DOCS) else ROOT).as_posix()


def _target(source: Path, link: str) -> Path | None:
    """File of the repository that a link leads to, if there is one."""
    path = (source.parent / link).resolve()
    return path if path.is_file() and path.is_relative_to(ROOT) else None


def _options() -> str:
    """Options of every command, as `--help` shows them."""
    group = typer.main.get_group(program(Plugins()))
    context = typer.Context(group)
    pages = (
        get_docs_for_click(obj=command, ctx=context, indent=1, call_prefix=group.name or "")
        for command in group.commands.values()
    )
    return "\n" + "\n".join(pages)

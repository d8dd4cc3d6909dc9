"""Write an engine: every block of the page is written or run, in its order."""

from collections.abc import Callable
from pathlib import Path

import pytest
from reader import Reader

pytestmark = pytest.mark.full

PAGE = Path(__file__).parents[1] / "docs/write_an_engine.md"
INSTALLED = (
    *(".", "handlers/plugin_kit", "handlers/annotation_formats", "handlers/predict"),
    *("backends/network", "backends/tensorpack"),
)


def test_the_page_does_what_it_says(
    virtual_environment: Callable[..., Path], wheels: dict[str, Path], tmp_path: Path
) -> None:
    environment = virtual_environment(*(wheels[folder] for folder in INSTALLED))
    Reader(tmp_path, environment).follow(PAGE)

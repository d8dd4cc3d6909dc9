"""The README's badges say what the project says of itself."""

import runpy
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_badges_are_true() -> None:
    """`build_tools/make_badges.py` writes what is there; the README's texts are the same."""
    script = runpy.run_path(str(ROOT / "build_tools/make_badges.py"))
    facts = script["facts"]()
    readme = (ROOT / "README.md").read_text()
    assert {path.stem for path in (ROOT / "docs/badges").iterdir()} == set(facts)
    for name, value in facts.items():
        assert (ROOT / f"docs/badges/{name}.svg").read_text() == script["badge"](name, value)
        assert f"![{name}: {value}](docs/badges/{name}.svg)" in readme

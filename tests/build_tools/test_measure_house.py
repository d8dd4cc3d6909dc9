"""measure_house.py, on small trees and on this one."""

import runpy
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def script() -> dict[str, object]:
    return runpy.run_path(str(ROOT / "build_tools/measure_house.py"))


@pytest.fixture
def modules(tmp_path: Path) -> dict[str, Path]:
    """Three modules; `deep` is imported by one, and is not by another."""
    sources = {
        "a": "import b\n",
        "b": """
from typing import TYPE_CHECKING
try:
    from pack import deep
except ImportError:
    deep = None
if TYPE_CHECKING:
    import a
""",
        "pack.deep": "def late():\n    import a\n",
    }
    for name, source in sources.items():
        (tmp_path / name).write_text(source)
    return {name: tmp_path / name for name in sources}


def test_longest_chain_is_that_of_imports_at_module_level(
    script: dict[str, object], modules: dict[str, Path]
) -> None:
    longest_chain = script["longest_chain"]
    assert callable(longest_chain)
    assert longest_chain(modules) == ["a", "b", "pack.deep"]


def test_every_distribution_is_read_and_a_request_is_counted(script: dict[str, object]) -> None:
    read_distributions, probed = script["read_distributions"], script["probed"]
    assert callable(read_distributions)
    assert callable(probed)
    own = read_distributions(ROOT)
    found = {one.name: one for one in own}
    assert len(found) == len(list(ROOT.glob("*/*/setup.cfg"))) + 1
    assert {"numpy", "uvicorn"} <= set(found["maskrcnn-server"].dependencies())
    assert all(one.lines() > 0 for one in own)
    request = probed(ROOT, own, "request")
    assert request["calls"] >= request["files"] > 0


def test_the_core_is_flat_and_needs_few_libraries(script: dict[str, object]) -> None:
    core = next(one for one in script["read_distributions"](ROOT) if one.name == "maskrcnn-server")  # type: ignore[operator]
    chain = script["longest_chain"](core.modules())  # type: ignore[operator]
    assert len(chain) <= 7, chain
    assert len(core.dependencies()) <= 10

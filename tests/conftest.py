"""The distributions of this repository, and their wheels."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FOLDERS = (
    ".",
    *sorted(f"backends/{path.parent.name}" for path in ROOT.glob("backends/*/setup.cfg")),
)
DATA = "backends/tensorpack/maskrcnn_tensorpack/demo"
LEFT_OUT = shutil.ignore_patterns(".*", "build", "dist", "*.egg-info", "__pycache__", "demo")


@pytest.fixture(scope="session")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Each distribution's wheel by its folder, built from a copy so that nothing stale gets in."""
    copy = tmp_path_factory.mktemp("source") / "project"
    shutil.copytree(ROOT, copy, ignore=LEFT_OUT)
    shutil.copytree(ROOT / DATA, copy / DATA)
    built = {}
    for folder in FOLDERS:
        out = tmp_path_factory.mktemp("wheel")
        command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(out)]
        subprocess.run([*command, str(copy / folder)], check=True, capture_output=True)
        (built[folder],) = out.iterdir()
    return built

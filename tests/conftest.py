"""The distributions of this repository, and their wheels."""

import os
import shutil
import subprocess
import sys
import sysconfig
import venv
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FOLDERS = (
    ".",
    *sorted(
        str(path.parent.relative_to(ROOT))
        for folder in ("backends", "handlers")
        for path in ROOT.glob(f"{folder}/*/setup.cfg")
    ),
)
DATA = "backends/tensorpack/maskrcnn_tensorpack/demo"
LEFT_OUT = shutil.ignore_patterns(".*", "build", "dist", "*.egg-info", "__pycache__", "demo")


@pytest.fixture(scope="session")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Each distribution's wheel by its folder, built from a copy so that nothing stale gets in."""
    copy = tmp_path_factory.mktemp("source") / "project"
    shutil.copytree(ROOT, copy, ignore=LEFT_OUT)
    shutil.copytree(ROOT / DATA, copy / DATA)

    def build(folder: str) -> Path:
        out = tmp_path_factory.mktemp("wheel")
        command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(out)]
        subprocess.run([*command, str(copy / folder)], check=True, capture_output=True)
        (wheel,) = out.iterdir()
        return wheel

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return dict(zip(FOLDERS, pool.map(build, FOLDERS), strict=True))


@pytest.fixture(scope="session")
def others(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What this environment has installed, but for this repository's distributions."""
    folder = tmp_path_factory.mktemp("others")
    for entry in Path(sysconfig.get_path("purelib")).iterdir():
        if "maskrcnn" not in entry.name and entry.suffix != ".pth":
            (folder / entry.name).symlink_to(entry)
    return folder


@pytest.fixture(scope="session")
def virtual_environment(
    tmp_path_factory: pytest.TempPathFactory, others: Path
) -> Callable[..., Path]:
    """Makes a virtual environment with these wheels installed, and what they need within reach."""

    def make(*wheels: Path) -> Path:
        folder = tmp_path_factory.mktemp("environment")
        venv.create(folder, with_pip=False, symlinks=True)
        pip = [sys.executable, "-m", "pip", "--python", str(folder / "bin/python"), "install"]
        subprocess.run([*pip, "--quiet", "--no-deps", "--no-index", *map(str, wheels)], check=True)
        (site,) = folder.glob("lib/python*/site-packages")
        (site / "others.pth").write_text(f"{others}\n")
        return folder

    return make

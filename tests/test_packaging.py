"""What is in each wheel, and that names agree."""

import configparser
import shutil
import subprocess
import sys
import zipfile
from importlib.metadata import entry_points
from pathlib import Path

import pytest

from maskrcnn_server.plugins import Plugins

ROOT = Path(__file__).parents[1]
DISTRIBUTIONS = {
    ".": ("maskrcnn_server", {"maskrcnn_server", "maskrcnn_handlers"}),
    "backends/tensorflow": ("maskrcnn_tensorflow", {"maskrcnn_tensorflow"}),
    "backends/aws_samples": ("maskrcnn_aws_samples", {"maskrcnn_aws_samples"}),
    "backends/tensorpack": ("maskrcnn_tensorpack", {"maskrcnn_tensorpack"}),
}
LEFT_OUT = shutil.ignore_patterns(".*", "build", "dist", "*.egg-info", "__pycache__", "demo")


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    """The files in each distribution's wheel, built from a copy so that nothing stale gets in."""
    copy = tmp_path_factory.mktemp("source") / "project"
    shutil.copytree(ROOT, copy, ignore=LEFT_OUT)
    package_data = "backends/tensorpack/maskrcnn_tensorpack/demo"
    shutil.copytree(ROOT / package_data, copy / package_data)
    contents = {}
    for folder in DISTRIBUTIONS:
        out = tmp_path_factory.mktemp("wheel")
        command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(out)]
        subprocess.run([*command, str(copy / folder)], check=True, capture_output=True)
        (wheel,) = out.iterdir()
        contents[folder] = zipfile.ZipFile(wheel).namelist()
    return contents


@pytest.mark.parametrize("folder", DISTRIBUTIONS)
def test_wheel_holds_its_packages_and_nothing_else(
    folder: str, wheels: dict[str, list[str]]
) -> None:
    name, packages = DISTRIBUTIONS[folder]
    top_level = {path.partition("/")[0] for path in wheels[folder]}
    assert {t for t in top_level if not t.endswith(".dist-info")} == packages
    assert all(t.startswith(name) for t in top_level if t.endswith(".dist-info"))
    assert not [path for path in wheels[folder] if "/tests/" in path]
    for package in packages:
        assert f"{package}/py.typed" in wheels[folder]


@pytest.mark.parametrize("folder", DISTRIBUTIONS)
def test_wheel_holds_every_module(folder: str, wheels: dict[str, list[str]]) -> None:
    for package in DISTRIBUTIONS[folder][1]:
        home = next(ROOT.glob(f"**/{package}/__init__.py")).parent
        expected = {f"{package}/{path.relative_to(home)}" for path in home.rglob("*.py")}
        assert expected <= set(wheels[folder])


def test_bundled_model_is_in_the_plugins_wheel(wheels: dict[str, list[str]]) -> None:
    inside = [path for path in wheels["backends/tensorpack"] if "/demo/" in path]
    assert "maskrcnn_tensorpack/demo/model/model-6770.npz" in inside
    assert "maskrcnn_tensorpack/demo/NOTICE.md" in inside
    assert any(path.endswith(".png") for path in inside)


def test_folder_entry_point_and_backend_have_one_name() -> None:
    installed = {entry.name: entry.value for entry in entry_points(group="maskrcnn_server")}
    folders = {path.parents[1].name for path in ROOT.glob("backends/*/*/plugin.py")}
    assert set(Plugins().backends()) == folders == set(installed) - {"formats"}
    for name in folders:
        assert installed[name] == f"maskrcnn_{name}.plugin"


def test_versions_and_python_agree() -> None:
    seen = set()
    for folder in DISTRIBUTIONS:
        config = configparser.ConfigParser()
        config.read(ROOT / folder / "setup.cfg")
        seen.add((config["metadata"]["version"], config["options"]["python_requires"]))
        requires = config["options"]["install_requires"].split()
        ours = {r for r in requires if r.startswith("maskrcnn-")}
        assert all(r.endswith(f"=={config['metadata']['version']}") for r in ours)
    assert len(seen) == 1

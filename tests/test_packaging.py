"""What is in each wheel, and that names agree."""

import configparser
import zipfile
from importlib.metadata import entry_points
from pathlib import Path

import pytest

from maskrcnn_server.plugins import Plugins

pytestmark = pytest.mark.full

ROOT = Path(__file__).parents[1]
DISTRIBUTIONS = {
    ".": ("maskrcnn_server", {"maskrcnn_server", "maskrcnn_handlers"}),
    "handlers/annotation_formats": (
        "maskrcnn_annotation_formats",
        {"maskrcnn_annotation_formats"},
    ),
    "handlers/client": ("maskrcnn_client", {"maskrcnn_client"}),
    "handlers/opentelemetry": ("maskrcnn_opentelemetry", {"maskrcnn_opentelemetry"}),
    "handlers/playground": ("maskrcnn_playground", {"maskrcnn_playground"}),
    "handlers/plugin_kit": ("maskrcnn_plugin_kit", {"maskrcnn_plugin_kit"}),
    "handlers/predict": ("maskrcnn_predict", {"maskrcnn_predict"}),
    "handlers/protocols": ("maskrcnn_protocols", {"maskrcnn_protocols"}),
    "handlers/ray": ("maskrcnn_ray", {"maskrcnn_ray"}),
    "handlers/sagemaker": ("maskrcnn_sagemaker", {"maskrcnn_sagemaker"}),
    "handlers/streaming": ("maskrcnn_streaming", {"maskrcnn_streaming"}),
    "handlers/study": ("maskrcnn_study", {"maskrcnn_study"}),
    "handlers/tiles": ("maskrcnn_tiles", {"maskrcnn_tiles"}),
    "handlers/torchserve": ("maskrcnn_torchserve", {"maskrcnn_torchserve"}),
    "handlers/video": ("maskrcnn_video", {"maskrcnn_video"}),
    "handlers/workers": ("maskrcnn_workers", {"maskrcnn_workers"}),
    "backends/network": ("maskrcnn_network", {"maskrcnn_network"}),
    "backends/openvino": ("maskrcnn_openvino", {"maskrcnn_openvino"}),
    "backends/tensorflow": ("maskrcnn_tensorflow", {"maskrcnn_tensorflow"}),
    "backends/torch": ("maskrcnn_torch", {"maskrcnn_torch"}),
    "backends/aws_samples": ("maskrcnn_aws_samples", {"maskrcnn_aws_samples"}),
    "backends/detectron2": ("maskrcnn_detectron2", {"maskrcnn_detectron2"}),
    "backends/matterport": ("maskrcnn_matterport", {"maskrcnn_matterport"}),
    "backends/mmdetection": ("maskrcnn_mmdetection", {"maskrcnn_mmdetection"}),
    "backends/onnx": ("maskrcnn_onnx", {"maskrcnn_onnx"}),
    "backends/tf_object_detection": (
        "maskrcnn_tf_object_detection",
        {"maskrcnn_tf_object_detection"},
    ),
    "backends/torchvision": ("maskrcnn_torchvision", {"maskrcnn_torchvision"}),
    "backends/tensorpack": ("maskrcnn_tensorpack", {"maskrcnn_tensorpack"}),
}


@pytest.fixture(scope="module")
def contents(wheels: dict[str, Path]) -> dict[str, list[str]]:
    """The files in each distribution's wheel."""
    return {folder: zipfile.ZipFile(wheel).namelist() for folder, wheel in wheels.items()}


@pytest.mark.parametrize("folder", DISTRIBUTIONS)
def test_wheel_holds_its_packages_and_nothing_else(
    folder: str, contents: dict[str, list[str]]
) -> None:
    name, packages = DISTRIBUTIONS[folder]
    top_level = {path.partition("/")[0] for path in contents[folder]}
    assert {t for t in top_level if not t.endswith(".dist-info")} == packages
    assert all(t.startswith(name) for t in top_level if t.endswith(".dist-info"))
    assert not [path for path in contents[folder] if "/tests/" in path]
    for package in packages:
        assert f"{package}/py.typed" in contents[folder]


@pytest.mark.parametrize("folder", DISTRIBUTIONS)
def test_wheel_holds_every_module(folder: str, contents: dict[str, list[str]]) -> None:
    for package in DISTRIBUTIONS[folder][1]:
        (found,) = {
            *ROOT.glob(f"{package}/py.typed"),
            *ROOT.glob(f"*/*/{package}/py.typed"),
            *ROOT.glob(f"*/{package}/py.typed"),
        }
        home = found.parent
        expected = {f"{package}/{path.relative_to(home)}" for path in home.rglob("*.py")}
        assert expected <= set(contents[folder])


def test_bundled_model_is_in_the_plugins_wheel(contents: dict[str, list[str]]) -> None:
    inside = [path for path in contents["backends/tensorpack"] if "/demo/" in path]
    assert "maskrcnn_tensorpack/demo/model/model-6770.npz" in inside
    assert "maskrcnn_tensorpack/demo/NOTICE.md" in inside
    assert any(path.endswith(".png") for path in inside)


def test_the_playground_is_in_the_wheel(contents: dict[str, list[str]]) -> None:
    home = ROOT / "handlers/playground"
    files = home.glob("maskrcnn_playground/[ps]*/*.*")
    expected = {str(path.relative_to(home)) for path in files}
    assert "maskrcnn_playground/static/index.html" in expected
    assert "maskrcnn_playground/photographs/astronaut.jpg" in expected
    assert expected <= set(contents["handlers/playground"])


def test_folder_entry_point_and_what_it_registers_have_one_name() -> None:
    installed = {entry.name: entry.value for entry in entry_points(group="maskrcnn_server")}
    backends = {path.parents[1].name for path in ROOT.glob("backends/*/*/plugin.py")}
    handlers = {path.parents[1].name for path in ROOT.glob("handlers/*/*/plugin.py")}
    plugins = Plugins()
    assert plugins.backends().keys() | plugins.engines().keys() == backends
    assert installed.pop("core") == "maskrcnn_handlers.plugin"
    assert installed == {name: f"maskrcnn_{name}.plugin" for name in backends | handlers}


def test_the_client_needs_nothing_of_the_server() -> None:
    config = configparser.ConfigParser()
    config.read(ROOT / "handlers/client/setup.cfg")
    requires = config["options"]["install_requires"].split()
    assert {r.partition(">=")[0] for r in requires} == {"httpx", "numpy", "pydantic"}


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

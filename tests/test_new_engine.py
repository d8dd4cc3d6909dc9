"""A stranger's engine, made by `new-engine` and installed beside the wheels it needs."""

from collections.abc import Callable
from pathlib import Path

import pytest
from project import Project, assert_formatted

from maskrcnn_plugin_kit.commands.new_engine import check_name
from maskrcnn_server.errors import InvalidSetting
from maskrcnn_tensorpack.plugin import DEMO

pytestmark = pytest.mark.full

INSTALLED = (
    *(".", "handlers/plugin_kit", "handlers/annotation_formats", "handlers/predict"),
    *("backends/network", "backends/tensorpack"),
)
PICTURE = DEMO / "images/shapes-1.png"


@pytest.fixture(scope="module")
def project(
    tmp_path_factory: pytest.TempPathFactory,
    virtual_environment: Callable[..., Path],
    wheels: dict[str, Path],
) -> Project:
    environment = virtual_environment(*(wheels[folder] for folder in INSTALLED))
    return Project("new-engine", "tvm", environment, tmp_path_factory.mktemp("stranger"))


def test_it_passes_its_own_tests(project: Project) -> None:
    project.assert_it_passes_its_own_tests()


def test_it_is_typed_strictly(project: Project) -> None:
    project.assert_it_is_typed_strictly()


def test_it_is_listed(project: Project) -> None:
    done = project.run("maskrcnn-server", "backends")
    assert done.returncode == 0, done.stdout
    assert "maskrcnn-tvm" in done.stdout
    assert "engines: tvm\n" in done.stdout


def test_it_computes_the_demo(project: Project) -> None:
    done = project.run("maskrcnn-server", "demo", "--image", PICTURE, MASKRCNN_ENGINE="tvm")
    assert done.returncode == 0, done.stderr
    assert "6 instances drawn in demo.png" in done.stdout


def test_it_is_for_those_who_name_it(project: Project) -> None:
    done = project.run("maskrcnn-server", "doctor", DEMO / "model", MASKRCNN_ENGINE="tvm")
    assert "computed by tvm on cpu (MASKRCNN_ENGINE=tvm)" in done.stdout, done.stderr
    done = project.run("maskrcnn-server", "doctor", DEMO / "model")
    assert done.returncode == 1
    assert "no engine computes in float32 with MASKRCNN_ENGINE=auto" in done.stderr


def test_it_is_formatted_whatever_its_name(project: Project, tmp_path: Path) -> None:
    assert_formatted(project, "new-engine", tmp_path)


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("TVM", "lower-case letters"),
        ("../tvm", "not a name for an engine"),
        ("auto", "has a meaning already"),
        ("original", "has a meaning already"),
        ("openvino", "an engine of this name is installed"),
        ("network", "maskrcnn-network is a distribution of this project"),
    ],
)
def test_a_name_that_cannot_be_is_refused(name: str, why: str) -> None:
    with pytest.raises(InvalidSetting, match=why):
        check_name(name)

"""A stranger's backend, made by `new-backend` and installed beside our wheels, and nothing else."""

import base64
import json
import re
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest
from project import Project, assert_formatted

from maskrcnn_plugin_kit.commands.new_backend import check_name
from maskrcnn_predict.child import running
from maskrcnn_server import API_VERSION
from maskrcnn_server.errors import InvalidSetting

pytestmark = pytest.mark.full

ROOT = Path(__file__).parents[1]
INSTALLED = (".", "handlers/plugin_kit", "handlers/annotation_formats", "handlers/predict")


@pytest.fixture(scope="module")
def project(
    tmp_path_factory: pytest.TempPathFactory,
    virtual_environment: Callable[..., Path],
    wheels: dict[str, Path],
) -> Project:
    folder = tmp_path_factory.mktemp("stranger")
    return Project(
        "new-backend",
        "yolact",
        virtual_environment(*(wheels[folder] for folder in INSTALLED)),
        folder,
    )


def test_it_passes_its_own_tests(project: Project) -> None:
    project.assert_it_passes_its_own_tests()


def test_it_is_typed_strictly(project: Project) -> None:
    project.assert_it_is_typed_strictly()


def test_it_is_listed(project: Project) -> None:
    done = project.run("maskrcnn-server", "backends")
    assert done.returncode == 0, done.stdout
    assert "maskrcnn-yolact" in done.stdout
    assert "backends: yolact\n" in done.stdout


def test_it_keeps_what_every_backend_promises(project: Project) -> None:
    done = project.run("maskrcnn-server", "check-backend", "yolact", "--model", "example/model")
    assert done.returncode == 0, done.stdout
    assert "passed  the same image gets the same answer" in done.stdout
    assert "failed" not in done.stdout


def test_its_model_is_examined_and_a_damaged_one_refused(project: Project, tmp_path: Path) -> None:
    done = project.run("maskrcnn-server", "doctor", "example/model")
    assert done.returncode == 0, done.stderr
    assert "would be served by yolact" in done.stdout
    (tmp_path / "colours.json").write_text('{"red": [220, 40]}')
    done = project.run("maskrcnn-server", "doctor", tmp_path)
    assert done.returncode == 1
    assert "problem: " in done.stdout
    assert "[red, green, blue] from 0 to 255 is expected" in done.stdout


def test_it_serves_an_image(project: Project) -> None:
    command = [str(project.environment / "bin/maskrcnn-server"), "serve", "--host", "127.0.0.1"]
    picture = (project.folder / "example/picture.png").read_bytes()
    body = json.dumps({"img_id": "p.png", "img_data": base64.b64encode(picture).decode()}).encode()
    with running([*command, "--model", str(project.folder / "example/model")]) as server:
        request = urllib.request.Request(
            f"{server.url}/invocations", body, {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=30) as reply:
            annotations = json.load(reply)["annotations"]
    assert sorted(a["category_name"] for a in annotations) == ["blue", "green", "red"]
    assert all(sum(a["segmentation"]["counts"]) == 160 * 240 for a in annotations)


def test_its_image_is_like_ours(project: Project) -> None:
    """It has everything of ours that a host relies on."""
    theirs = (project.folder / "Dockerfile").read_text().rpartition("\nFROM ")[2]
    ours = (ROOT / "backends/tensorpack/Dockerfile").read_text().rpartition("\nFROM ")[2]
    lines = re.findall(
        r"^(?:USER|WORKDIR|EXPOSE|HEALTHCHECK|    CMD|ENTRYPOINT|CMD) .*", ours, re.MULTILINE
    )
    labels = re.findall(r"com\.amazonaws\.\S+", ours)
    assert len(lines) == 7
    assert len(labels) == 2
    assert [line for line in [*lines, *labels] if line not in theirs] == []


def test_a_plugin_for_another_interface_is_refused(project: Project) -> None:
    (module,) = project.environment.glob("lib/python*/site-packages/maskrcnn_yolact/plugin.py")
    text = module.read_text()
    ours = f'api_version = "{API_VERSION}"'
    assert ours in text
    # A length of its own: in the second of its installation, bytecode would be taken for current.
    module.write_text(text.replace(ours, 'api_version = "2.0"  # to come'))
    done = project.run("maskrcnn-server", "backends")
    module.write_text(text)
    assert done.returncode == 1
    assert "yolact of maskrcnn-yolact: PluginError: written for plugin API 2.0" in done.stdout


def test_it_is_formatted_whatever_its_name(project: Project, tmp_path: Path) -> None:
    assert_formatted(project, "new-backend", tmp_path)


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("Yolact", "lower-case letters"),
        ("yo-lact", "lower-case letters"),
        ("2d", "a letter first"),
        ("a__b", "single _"),
        ("../yolact", "lower-case letters"),
        ("x" * 25, "up to 24"),
        ("sagemaker", "SAGEMAKER_.* is a setting of the server"),
        ("config", "CONFIG__ is a setting of the server"),
        ("server", "maskrcnn-server is a distribution of this project"),
        ("tensorpack", "a backend of this name is installed"),
    ],
)
def test_a_name_that_cannot_be_is_refused(name: str, why: str) -> None:
    with pytest.raises(InvalidSetting, match=why):
        check_name(name)


def test_a_refused_name_writes_nothing(project: Project, tmp_path: Path) -> None:
    done = project.run("maskrcnn-server", "new-backend", "yolact", tmp_path / "new")
    assert done.returncode == 1
    assert done.stderr.startswith("error (invalid_setting): 'yolact': a backend of this name is")
    assert not (tmp_path / "new").exists()


def test_a_folder_with_something_in_it_is_refused(project: Project, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    done = project.run("maskrcnn-server", "new-backend", "other", tmp_path)
    assert done.returncode == 1
    assert "exists already" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]

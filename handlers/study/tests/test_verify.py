"""`verify`, with this server itself, and with a stand-in, for the code that trained the model."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from maskrcnn_handlers.cli.main import program
from maskrcnn_predict.child import served
from maskrcnn_server.backend import Model, ModelConfig
from maskrcnn_server.errors import InvalidModel, InvalidSetting, RequestError
from maskrcnn_server.plugins import Plugins, installed
from maskrcnn_tensorpack import plugin
from maskrcnn_tensorpack.backend import TensorPackBackend
from maskrcnn_tensorpack.original import ORIGINAL
from maskrcnn_tensorpack.plugin import DEMO

pytestmark = pytest.mark.full

app = program(Plugins())

PICTURE = Path(__file__).parents[3] / "tests/demo/golden/shapes-9500003.png"
STAND_IN = Path(__file__).parents[3] / "backends/tensorpack/tests/stand_in"
STAGES = [
    "resized picture",
    "features",
    "proposals",
    "class scores",
    "boxes",
    "masks",
    "pasted masks",
    "answer",
]


class Twin(TensorPackBackend):
    """Whose original is itself."""

    def load(self, config: ModelConfig, /) -> Model:
        return super().load(replace(config, engine="auto"))


class StandIn(TensorPackBackend):
    """Whose original code needs little."""

    def __init__(self) -> None:
        super().__init__()
        object.__setattr__(
            self, "original", replace(ORIGINAL, packages=("tensorpack==0.11", "tf-keras"))
        )


def verify(*arguments: str | Path) -> Result:
    given = [DEMO / "model", PICTURE, "--backend", "tensorpack", *arguments]
    return CliRunner().invoke(app, ["verify", *map(str, given)])


def certificate(folder: Path) -> Any:
    return json.loads((folder / "certificate.json").read_text())


@pytest.fixture(autouse=True)
def _plugins_of_this_test() -> Iterator[None]:
    """What another test found installed does not count."""
    installed.cache_clear()
    yield
    installed.cache_clear()


@pytest.fixture
def twin(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plugin, "TensorPackBackend", Twin)


@pytest.mark.usefixtures("twin")
def test_what_computes_the_same_is_certified(tmp_path: Path) -> None:
    done = verify("--out", tmp_path, "--noise")
    assert done.exit_code == 0, done.output
    assert "the same as the original code in 1 of 1 pictures" in done.output
    content = certificate(tmp_path)
    assert content["same"] is True
    (picture,) = content["pictures"]
    assert [stage["stage"] for stage in picture["stages"]] == STAGES
    assert all(stage["same"] for stage in picture["stages"])
    assert [stage["stage"] for stage in picture["noise of the original"]] == STAGES[:-1]
    assert picture["stages"][4]["figures"]["detections"] >= 9
    assert list(content["weights"]) == ["model-6770.npz"]
    assert len(content["weights"]["model-6770.npz"]) == 64
    assert content["ours"]["step"] == "6770"
    assert "numpy" in content["packages"]


@pytest.mark.usefixtures("twin")
def test_the_page_shows_both_and_nothing_of_the_machine(tmp_path: Path) -> None:
    assert verify("--out", tmp_path).exit_code == 0
    page = (tmp_path / "certificate.html").read_text()
    assert page.count("<img alt=") == 2
    assert "original: " in page
    assert "http" not in page.replace("http://www.w3.org", "")
    for text in (page, (tmp_path / "certificate.json").read_text()):
        assert str(DEMO) not in text
        assert str(tmp_path) not in text


@pytest.mark.usefixtures("twin")
def test_a_running_server_is_judged_by_its_answers(tmp_path: Path) -> None:
    with served(DEMO / "model", "tensorpack") as url:
        done = verify("--out", tmp_path, "--url", url)
    assert done.exit_code == 0, done.output
    content = certificate(tmp_path)
    assert content["judged"] == url
    assert [stage["stage"] for stage in content["pictures"][0]["stages"]] == ["answer"]
    assert content["pictures"][0]["stages"][0]["figures"]["instances"] >= 9


@pytest.mark.usefixtures("twin")
def test_a_server_that_is_not_there_is_named(tmp_path: Path) -> None:
    done = verify("--out", tmp_path, "--url", "http://127.0.0.1:9")
    assert isinstance(done.exception, RequestError)
    assert "http://127.0.0.1:9/invocations" in done.exception.message


def test_what_differs_is_refused_with_the_first_stage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The stand-in resizes as the original does, and then computes something else."""
    monkeypatch.setattr(plugin, "TensorPackBackend", StandIn)
    done = verify("--out", tmp_path, "--original", STAND_IN)
    assert isinstance(done.exception, InvalidModel), done.output
    assert "differs from the original code in 1 of 1 pictures" in done.exception.message
    assert "first in: features (shapes-9500003.png)" in done.exception.message
    content = certificate(tmp_path)
    assert content["same"] is False
    assert content["original"]["engine"] == "original"
    assert "checkout" not in content["original"]


def test_without_a_checkout_the_variable_is_named(tmp_path: Path) -> None:
    done = verify("--out", tmp_path)
    assert isinstance(done.exception, InvalidSetting)
    assert "set TENSORPACK_FASTERRCNN to it" in done.exception.message
    assert not (tmp_path / "certificate.json").exists()

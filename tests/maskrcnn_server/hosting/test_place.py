"""Where a model is loaded: in this process, or by a plugin outside of it."""

import importlib.util
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest
from scripted_backend import Scripted

from maskrcnn_plugin_kit.testing.fake import FakeModel
from maskrcnn_server import optional
from maskrcnn_server.backend import Backend, Model, ModelConfig
from maskrcnn_server.engine import Choice
from maskrcnn_server.errors import InvalidSetting
from maskrcnn_server.hosting import startup
from maskrcnn_server.hosting.located import Located
from maskrcnn_server.plugins import Plugins
from maskrcnn_server.settings import ModelSettings

OUTSIDE = FakeModel(0.5)


class Outside(Plugins):
    """One plugin, which hosts models, or declines to."""

    def __init__(self, hosted: Model | None) -> None:
        super().__init__([])
        self._hosted = hosted
        self.names: list[str] = []

    def hosting(self) -> dict[str, Any]:
        return {"process": self}

    def load(self, _backend: Backend, _model: Located, name: str, /) -> Model | None:
        self.names.append(name)
        return self._hosted


class Computing(Scripted):
    """A backend whose models an engine computes."""

    def choice(self, _: ModelConfig, /) -> Choice:
        return Choice(engine=None, device="cpu", reason="the only one")  # type: ignore[arg-type]


def located(folder: Path, **settings: Any) -> Located:
    return Located(settings=ModelSettings(model=str(folder), **settings), folder=folder, probes={})


@pytest.fixture
def two_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(startup, "visible_gpus", lambda: 2)


@pytest.fixture
def without_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    found = importlib.util.find_spec
    absent = lambda name: None if name == "maskrcnn_workers" else found(name)  # noqa: E731
    monkeypatch.setattr(optional, "find_spec", absent)


@pytest.mark.parametrize(
    "settings", [{"isolation": "process"}, {"device": "cpu,cpu"}], ids=["isolation", "two devices"]
)
def test_a_plugin_hosts_what_is_to_be_isolated(tmp_path: Path, settings: Any) -> None:
    plugins = Outside(OUTSIDE)
    model = startup.place(plugins, Scripted(), located(tmp_path, **settings), "street")
    assert model == (OUTSIDE, True)
    assert plugins.names == ["street"]


def test_nobody_is_asked_about_other_models(tmp_path: Path) -> None:
    plugins = Outside(OUTSIDE)
    _, is_isolated = startup.place(plugins, Scripted(), located(tmp_path), "street")
    assert not is_isolated
    assert not plugins.names


@pytest.mark.usefixtures("two_gpus")
@pytest.mark.parametrize("device", ["auto", "cuda"])
@pytest.mark.parametrize("hosted", [OUTSIDE, None], ids=["several are used", "one is used"])
def test_a_plugin_finds_out_whether_several_gpus_are_used(
    tmp_path: Path, device: str, hosted: Model | None
) -> None:
    plugins = Outside(hosted)
    placed = startup.place(plugins, Computing(), located(tmp_path, device=device), "street")
    assert plugins.names == ["street"]
    assert placed[1] == (hosted is not None)


@pytest.mark.usefixtures("two_gpus", "without_workers")
@pytest.mark.parametrize(
    "settings",
    [{"isolation": "process"}, {"device": "cpu,cpu"}, {"device": "cuda"}],
    ids=["isolation", "two devices", "every GPU"],
)
def test_without_the_plugin_the_line_to_run_is_said(tmp_path: Path, settings: Any) -> None:
    with pytest.raises(InvalidSetting, match=r"pip install maskrcnn-workers$"):
        startup.place(Plugins([]), Computing(), located(tmp_path, **settings), "street")


@pytest.mark.usefixtures("two_gpus", "without_workers")
def test_auto_uses_one_gpu_without_the_plugin_and_warns(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    _, is_isolated = startup.place(Plugins([]), Computing(), located(tmp_path), "street")
    assert not is_isolated
    assert "of 2 GPUs, one at most is used" in caplog.text
    assert "pip install maskrcnn-workers" in caplog.text


def test_a_broken_plugin_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(optional, "find_spec", lambda _: True)
    plugins = Plugins([EntryPoint("workers", "no_such_module_anywhere", "maskrcnn_server")])
    with pytest.raises(InvalidSetting, match=r"maskrcnn-workers is broken: .*no_such_module"):
        startup.place(plugins, Scripted(), located(tmp_path, isolation="process"), "street")

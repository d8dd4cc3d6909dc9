import logging
import os
import sys
from collections.abc import Callable, Sequence
from importlib.metadata import EntryPoint
from pathlib import Path
from types import ModuleType
from typing import TypeAlias

import pytest

from maskrcnn_server import hookimpl, settings
from maskrcnn_server.backend import Backend, Image, Model, ModelConfig, PredictOptions, Probe
from maskrcnn_server.detections import Detections
from maskrcnn_server.errors import (
    BackendFailed,
    BackendNotSelected,
    InvalidModel,
    InvalidSetting,
    PluginError,
    StartupError,
)
from maskrcnn_server.hosting import startup
from maskrcnn_server.plugins import Plugins
from maskrcnn_server.settings import Settings
from maskrcnn_server.stopwatch import listen
from maskrcnn_server.testing import FakeBackend
from maskrcnn_server.testing.fake import FakeModel

Host: TypeAlias = Callable[..., Plugins]


class Recorded(FakeModel):
    """Remembers how it was asked; fails if it is given an error."""

    def __init__(self, error: Exception | None = None) -> None:
        super().__init__(0.5)
        self.asked: list[tuple[list[tuple[int, ...]], PredictOptions]] = []
        self.closed = False
        self._error = error

    def predict(self, images: Sequence[Image], options: PredictOptions, /) -> list[Detections]:
        self.asked.append(([image.shape for image in images], options))
        if self._error is not None:
            raise self._error
        return super().predict(images, options)

    def close(self) -> None:
        self.closed = True


class Scripted(FakeBackend):
    """Probes and loads as it is told."""

    def __init__(
        self, name: str = "scripted", probe: Probe | Exception | None = None, model: object = None
    ) -> None:
        self.name = name
        self.config: ModelConfig | None = None
        self._probe = probe
        self._model = model

    def probe(self, config: ModelConfig, /) -> Probe | None:
        self.config = config
        if isinstance(self._probe, Exception):
            raise self._probe
        return self._probe

    def load(self, config: ModelConfig, /) -> Model:
        self.config = config
        if isinstance(self._model, Exception):
            raise self._model
        return self._model if isinstance(self._model, FakeModel) else super().load(config)


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch) -> Host:
    """A host with one plugin, which brings these backends."""

    def build(*backends: Backend) -> Plugins:
        @hookimpl
        def register_backends(register: Callable[[Backend], None]) -> None:
            for backend in backends:
                register(backend)

        module = ModuleType("scripted_plugin")
        module.register_backends = register_backends  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, module.__name__, module)
        return Plugins(
            [
                EntryPoint("scripted", module.__name__, "maskrcnn_server"),
                EntryPoint("lost", "no_such_module_anywhere", "maskrcnn_server"),
            ]
        )

    return build


@pytest.fixture
def chosen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Settings]:
    """Settings for a model folder, without what the machine's environment says."""
    known = {name for names in settings.variable_names().values() for name in names}
    for name in os.environ:
        if name in known or name.startswith(("MASKRCNN_", "CONFIG__", "SCRIPTED_")):
            monkeypatch.delenv(name)

    def read(**given: object) -> Settings:
        return settings.read(model=str(tmp_path), **given)

    return read


GOOD = Probe(facts={"framework": "none"})
BAD = Probe(facts={}, problems=["no checkpoint"])


@pytest.mark.parametrize(
    "other",
    [RuntimeError("disk on fire"), None, BAD],
    ids=["its probe raises", "it finds nothing", "it finds problems"],
)
def test_a_backend_is_passed_over_when(
    other: Probe | Exception | None, host: Host, chosen: Callable[..., Settings]
) -> None:
    wanted = Scripted("wanted", GOOD)
    assert startup.choose_backend(host(Scripted("other", other), wanted), chosen()) is wanted


def test_a_probe_that_raises_is_logged_with_its_backend(
    host: Host, chosen: Callable[..., Settings], caplog: pytest.LogCaptureFixture
) -> None:
    backends = Scripted("burning", RuntimeError("disk on fire")), Scripted("wanted", GOOD)
    startup.choose_backend(host(*backends), chosen())
    assert "burning" in caplog.text
    assert "disk on fire" in caplog.text


def test_a_backend_is_chosen_by_its_name(host: Host, chosen: Callable[..., Settings]) -> None:
    wanted = Scripted("wanted", RuntimeError("never asked"))
    plugins = host(Scripted("other", GOOD), wanted)
    assert startup.choose_backend(plugins, chosen(backend="wanted")) is wanted


def test_an_unclear_choice_is_an_error(host: Host, chosen: Callable[..., Settings]) -> None:
    with pytest.raises(BackendNotSelected, match="could be served by a, b"):
        startup.choose_backend(host(Scripted("a", GOOD), Scripted("b", GOOD)), chosen())


def test_broken_plugins_are_logged(
    host: Host, chosen: Callable[..., Settings], caplog: pytest.LogCaptureFixture
) -> None:
    startup.choose_backend(host(FakeBackend()), chosen())
    (record,) = caplog.records
    assert (record.levelno, "plugin lost" in record.message) == (logging.WARNING, True)


@pytest.mark.parametrize("step", ["load", "probe"])
def test_settings_reach_the_backend(
    step: str,
    host: Host,
    chosen: Callable[..., Settings],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("CONFIG__FPN__FREEZE", "True")
    monkeypatch.setenv("SCRIPTED_VARIANT", "tf1")
    given = chosen(resnet_arch="resnet50", score_threshold=0.25)
    backend = Scripted(probe=GOOD)
    if step == "load":
        startup.load_model(backend, given)
    else:
        startup.choose_backend(host(backend, Scripted("other")), given)
    assert backend.config == ModelConfig(
        model_dir=tmp_path,
        resnet_arch="resnet50",
        overrides={"FPN.FREEZE": "True"},
        options={"variant": "tf1"},
        score_threshold=0.25,
        dedicated=step == "load",
    )


def test_a_loaded_model_is_warm(chosen: Callable[..., Settings]) -> None:
    """It has seen one image, at any score, and its masks were pasted."""
    model = Recorded()
    with listen() as stopwatch:
        assert startup.load_model(Scripted(model=model), chosen()) is model
    ((shapes, options),) = model.asked
    assert shapes == [(*startup.WARM_UP_SIZE, 3)]
    assert (options.score_threshold, options.masks) == (0.0, True)
    assert "paste" in stopwatch.seconds
    assert not model.closed


@pytest.mark.parametrize(
    "model",
    [OSError("disk on fire"), Recorded(OSError("disk on fire")), BackendFailed("disk on fire")],
    ids=["load raises", "warm up raises", "load raises one of ours that is not about start-up"],
)
def test_strange_errors_become_invalid_model(
    model: object, chosen: Callable[..., Settings], tmp_path: Path
) -> None:
    with pytest.raises(InvalidModel) as caught:
        startup.load_model(Scripted(model=model), chosen())
    message = str(caught.value)
    assert "scripted" in message
    assert str(tmp_path) in message
    assert message.endswith("disk on fire")
    assert caught.value.__cause__ is not None


@pytest.mark.parametrize(
    "error",
    [InvalidModel("no weights"), InvalidSetting("no such key"), PluginError("old")],
    ids=lambda error: error.code,
)
def test_start_up_errors_pass_as_they_are(
    error: StartupError, chosen: Callable[..., Settings]
) -> None:
    with pytest.raises(StartupError) as caught:
        startup.load_model(Scripted(model=error), chosen())
    assert caught.value is error


def test_a_model_that_cannot_warm_up_is_closed(chosen: Callable[..., Settings]) -> None:
    """Who opens, closes."""
    model = Recorded(OSError("out of memory"))
    with pytest.raises(InvalidModel):
        startup.load_model(Scripted(model=model), chosen())
    assert model.closed

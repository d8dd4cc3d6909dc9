import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from scripted_backend import Scripted

from maskrcnn_plugin_kit.testing.fake import FakeModel
from maskrcnn_server.backend import Image, ModelConfig, PredictOptions
from maskrcnn_server.detections import Detections
from maskrcnn_server.engine import Choice
from maskrcnn_server.errors import (
    BackendFailed,
    InvalidModel,
    InvalidSetting,
    PluginError,
    StartupError,
    WarmUpFailed,
)
from maskrcnn_server.hosting import startup
from maskrcnn_server.stopwatch import listen


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


@pytest.fixture
def config(tmp_path: Path) -> ModelConfig:
    return ModelConfig(model_dir=tmp_path)


def test_a_backend_is_told_that_the_process_is_for_models(config: ModelConfig) -> None:
    backend = Scripted()
    startup.load_model(backend, config)
    assert backend.config == ModelConfig(model_dir=config.model_dir, dedicated=True)


def test_a_loaded_model_is_warm(config: ModelConfig) -> None:
    """It has seen one image, at any score, and its masks were pasted."""
    model = Recorded()
    with listen() as stopwatch:
        assert startup.load_model(Scripted(model=model), config) is model
    ((shapes, options),) = model.asked
    assert shapes == [(*startup.WARM_UP_SIZE, 3)]
    assert (options.score_threshold, options.masks) == (0.0, True)
    assert "paste" in stopwatch.seconds
    assert not model.closed


@pytest.mark.parametrize(
    ("model", "kind"),
    [
        (OSError("disk on fire"), InvalidModel),
        (Recorded(OSError("disk on fire")), WarmUpFailed),
        (BackendFailed("disk on fire"), InvalidModel),
    ],
    ids=["load raises", "warm up raises", "load raises one of ours that is not about start-up"],
)
def test_strange_errors_say_what_failed_and_where(
    model: object,
    kind: type[StartupError],
    config: ModelConfig,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO")
    with pytest.raises(kind) as caught:
        startup.load_model(Scripted(model=model), config)
    message = str(caught.value)
    assert "scripted" in message
    assert str(tmp_path) in message
    assert re.search(r"disk on fire \(.+\.py, line \d+\)$", message)
    assert caught.value.__cause__ is not None
    assert "Traceback" in caplog.text


class NoClose:
    metadata, predict = FakeModel(0.5).metadata, FakeModel(0.5).predict


class Forgetful(FakeModel):
    def predict(self, *_: object) -> list[Detections]:
        return []


class Wordy(FakeModel):
    def predict(self, images: Sequence[Image], *_: object) -> list[Any]:
        return [{"boxes": []} for _ in images]


class Small(FakeModel):
    def predict(self, images: Sequence[Image], options: PredictOptions) -> list[Detections]:
        return super().predict([image[::2, ::2] for image in images], options)


class Deep(FakeModel):
    batch_pixels = 1

    def network_shape(self, _: object) -> tuple[int, int, int]:
        return 1, 2, 3


@pytest.mark.parametrize(
    ("model", "kind", "reason"),
    [
        (NoClose(), PluginError, "NoClose has no close"),
        (Forgetful(0.5), WarmUpFailed, "a list of 1 Detections is right: got 0"),
        (Wordy(0.5), WarmUpFailed, "a list of Detections is right: got one of dict"),
        (Small(0.5), WarmUpFailed, r"the image's size, \(480, 640\): got \(240, 320\)"),
        (Deep(0.5), WarmUpFailed, r"network_shape is \(height, width\): got \(1, 2, 3\)"),
    ],
    ids=["no close", "no answer", "words", "another size", "three numbers"],
)
def test_broken_promises_are_named(
    model: object, kind: type[StartupError], reason: str, config: ModelConfig
) -> None:
    with pytest.raises(kind, match=reason):
        startup.load_model(Scripted(model=model), config)


def test_an_engine_that_cannot_compute_is_refused_before_the_model_is_read(
    config: ModelConfig,
) -> None:
    class Computing(Scripted):
        def choice(self, _: ModelConfig, /) -> Choice:
            raise InvalidSetting("no engine computes in float16")

    backend = Computing()
    with pytest.raises(InvalidSetting, match="float16"):
        startup.load_model(backend, config)
    assert backend.config is None


@pytest.mark.parametrize(
    "error",
    [InvalidModel("no weights"), InvalidSetting("no such key"), PluginError("old")],
    ids=lambda error: error.code,
)
def test_start_up_errors_pass_as_they_are(error: StartupError, config: ModelConfig) -> None:
    with pytest.raises(StartupError) as caught:
        startup.load_model(Scripted(model=error), config)
    assert caught.value is error


def test_a_model_that_cannot_warm_up_is_closed(config: ModelConfig) -> None:
    """Who opens, closes."""
    model = Recorded(OSError("out of memory"))
    with pytest.raises(WarmUpFailed):
        startup.load_model(Scripted(model=model), config)
    assert model.closed


class OnCpu(FakeModel):
    """Says that the CPU computes."""

    def __init__(self) -> None:
        super().__init__(0.5)
        facts = {"engine": "torch", "device": "cpu", "engine chosen": "torch on cuda: no driver"}
        self.metadata = replace(self.metadata, facts=facts)


@pytest.mark.parametrize(
    ("visible", "device", "warns"),
    [("all", "auto", True), ("all", "cpu", False), ("void", "auto", False), ("", "auto", False)],
)
def test_a_gpu_that_is_not_used_is_warned_of(
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    visible: str,
    device: str,
    warns: bool,
) -> None:
    monkeypatch.setenv("NVIDIA_VISIBLE_DEVICES", visible)
    startup.warn_of_idle_gpu(OnCpu(), ModelConfig(model_dir=Path(), device=device))
    assert ("NO GPU IS USED" in caplog.text) is warns
    assert ("torch on cuda: no driver" in caplog.text) is warns

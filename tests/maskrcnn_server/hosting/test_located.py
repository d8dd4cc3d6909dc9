"""Where a model is found, and which backend it is for."""

import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from scripted_backend import Host, Read, Scripted, chosen, host

from maskrcnn_plugin_kit.testing import FakeBackend
from maskrcnn_server.backend import Backend, Model, ModelConfig, Probe
from maskrcnn_server.errors import BackendNotSelected, InvalidModel, InvalidSetting
from maskrcnn_server.hosting.located import choose_backend, locate, nearest
from maskrcnn_server.hosting.startup import load_model
from maskrcnn_server.keys import Keys
from maskrcnn_server.plugins import Plugins
from maskrcnn_server.settings import Settings

__all__ = ["chosen", "host"]

GOOD = Probe(facts={"framework": "none"})
BAD = Probe(facts={}, problems=["no checkpoint"])


def choose(plugins: Plugins, settings: Settings) -> Backend:
    return choose_backend(plugins, locate(plugins, settings.model, settings))


@pytest.mark.parametrize(
    "other",
    [RuntimeError("disk on fire"), None, BAD],
    ids=["its probe raises", "it finds nothing", "it finds problems"],
)
def test_a_backend_is_passed_over_when(
    other: Probe | Exception | None, host: Host, chosen: Read
) -> None:
    wanted = Scripted("wanted", GOOD)
    assert choose(host(Scripted("other", other), wanted), chosen()) is wanted


def test_a_probe_that_raises_is_logged_with_its_backend(
    host: Host, chosen: Read, caplog: pytest.LogCaptureFixture
) -> None:
    backends = Scripted("burning", RuntimeError("disk on fire")), Scripted("wanted", GOOD)
    choose(host(*backends), chosen())
    assert "burning" in caplog.text
    assert "disk on fire" in caplog.text


def test_a_backend_is_chosen_by_its_name(host: Host, chosen: Read) -> None:
    wanted, other = Scripted("wanted", RuntimeError("disk on fire")), Scripted("other", GOOD)
    assert choose(host(other, wanted), chosen(backend="wanted")) is wanted
    assert other.config is None


def test_an_unclear_choice_is_an_error(host: Host, chosen: Read) -> None:
    with pytest.raises(BackendNotSelected, match="could be served by a, b"):
        choose(host(Scripted("a", GOOD), Scripted("b", GOOD)), chosen())


def test_broken_plugins_are_logged(
    host: Host, chosen: Read, caplog: pytest.LogCaptureFixture
) -> None:
    choose(host(FakeBackend()), chosen())
    (record,) = caplog.records
    assert (record.levelno, "broken plugin: lost" in record.message) == (logging.WARNING, True)


def test_settings_reach_the_backend(
    host: Host, chosen: Read, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CONFIG__FPN__FREEZE", "True")
    monkeypatch.setenv("SCRIPTED_VARIANT", "tf1")
    settings, backend = chosen(resnet_arch="resnet50", score_threshold=0.25), Scripted(probe=GOOD)
    backend.keys = Keys(config={"FPN.FREEZE"}, options={"variant"})
    located = locate(host(backend, Scripted("other")), settings.model, settings)
    expected = ModelConfig(
        model_dir=tmp_path,
        resnet_arch="resnet50",
        overrides={"FPN.FREEZE": "True"},
        options={"variant": "tf1"},
        score_threshold=0.25,
    )
    assert backend.config == located.config("scripted") == expected
    assert located.probes == {"scripted": replace(GOOD, notes=[])}


KEYS = Keys(
    config={"FPN.FREEZE", "TEST.RESULTS_PER_IM"},
    without_effect={"TRAIN.LR"},
    sections_without_effect=("SOLVER.",),
    options={"variant", "fast"},
    options_without_effect={"datasets"},
)


@pytest.mark.parametrize(
    ("variable", "refusal"),
    [
        ("CONFIG__FPN__FREEZ", "no such key: FPN.FREEZ; the nearest is FPN.FREEZE"),
        ("CONFIG__results_per_im", "the nearest is TEST.RESULTS_PER_IM"),
        ("CONFIG__A__B", "CONFIG__A__B: no such key: A.B; the nearest is "),
        (
            "SCRIPTED_VARIENT",
            "SCRIPTED_VARIENT: no such option of backend scripted; the nearest is SCRIPTED_VARIANT",
        ),
        ("SCRIPTED_X", "SCRIPTED_X: no such option"),
        ("CONFIG__FPN__FREEZE", None),
        ("CONFIG__TRAIN__LR", None),
        ("CONFIG__SOLVER__MAX_ITER", None),
        ("SCRIPTED_FAST", None),
        ("SCRIPTED_DATASETS", None),
        ("SCRIPTED_VERSION", None),
        ("SCRIPTEDX", None),
    ],
)
def test_a_key_that_nobody_knows_is_refused_with_the_nearest(
    variable: str,
    refusal: str | None,
    host: Host,
    chosen: Read,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(variable, "1")
    backend = Scripted(probe=GOOD)
    backend.keys = KEYS
    plugins, settings = host(backend), chosen()
    located = locate(plugins, settings.model, settings)
    (seen,) = located.probes.values()
    config = located.config("scripted")
    if refusal is None:
        assert not seen.problems
        assert not seen.notes
        load_model(backend, config).close()
    else:
        assert refusal in "".join(seen.problems)
        with pytest.raises(InvalidSetting) as caught:
            load_model(backend, config)
        assert refusal in caught.value.message


class Undeclared:
    """A backend of an earlier version of the interface."""

    name = "undeclared"

    def probe(self, config: ModelConfig, /) -> Probe | None:
        return GOOD if config.model_dir.is_dir() else None

    def load(self, config: ModelConfig, /) -> Model:
        return FakeBackend().load(config)


def test_keys_that_a_backend_without_a_declaration_may_pass_over_are_named(
    host: Host, chosen: Read, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("CONFIG__A__B", "3")
    monkeypatch.setenv("UNDECLARED_FAST", "1")
    with caplog.at_level(logging.INFO):
        choose(host(Undeclared()), chosen())
    assert "may pass over CONFIG__A__B, UNDECLARED_FAST" in caplog.text


def test_each_backend_is_asked_once_about_a_folder(host: Host, chosen: Read) -> None:
    asked: list[str] = []

    class Counting(Scripted):
        def probe(self, config: ModelConfig, /) -> Probe | None:
            asked.append(self.name)
            return super().probe(config)

    choose(host(Counting("a", GOOD), Counting("b", BAD)), chosen())
    assert asked == ["a", "b"]


def test_a_folder_that_is_absent_is_said(host: Host, chosen: Read, tmp_path: Path) -> None:
    settings = chosen().model.model_copy(update={"address": str(tmp_path / "absent")})
    with pytest.raises(InvalidModel, match="absent: no such folder"):
        locate(host(FakeBackend()), settings, chosen())


def holds(name: str) -> Callable[[Path], bool]:
    return lambda folder: (folder / name).exists()


def test_nested_training_folders_are_found(tmp_path: Path) -> None:
    nested = tmp_path / "a/train_log/maskrcnn"
    nested.mkdir(parents=True)
    (nested / "model-1.index").touch()
    assert nearest(tmp_path, holds("model-1.index")) == (nested, True)
    assert nearest(tmp_path, holds("absent")) == (tmp_path, False)


def test_of_several_nested_models_none_is_guessed(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "m").touch()
    with pytest.raises(InvalidModel, match="holds several models: one, two"):
        nearest(tmp_path, holds("m"))


def test_a_broken_only_plugin_is_named_in_the_error(host: Host, chosen: Read) -> None:
    with pytest.raises(BackendNotSelected) as caught:
        choose(host(), chosen())
    assert "no backend works; 1 plugin is broken: lost of unknown: ModuleNotFoundError" in str(
        caught.value
    )


def test_notes_of_the_probe_reach_the_log(
    host: Host, chosen: Read, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    choose(host(Scripted(probe=Probe(facts={}, notes=["classes are assumed"]))), chosen())
    assert "note: classes are assumed" in caplog.text

"""Conformance checks of `probe` and `load`."""

import contextlib
import shutil
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import pytest

from maskrcnn_plugin_kit.testing.images import sample_image
from maskrcnn_server.backend import Backend, Model, ModelConfig, PredictOptions
from maskrcnn_server.errors import InvalidModel, InvalidSetting, StartupError
from maskrcnn_server.keys import DeclaresKeys, Keys, check_keys

PROBE_S = 1.0
"""Time limit of `probe` in seconds, best of three."""

DAMAGES = {"empty": 0.0, "cut in half": 0.5}
"""Share of each file that is left."""


class Recorded(Mapping[str, str]):
    """Settings that know whether anybody has read their values."""

    def __init__(self, values: dict[str, str]) -> None:
        self._values = values
        self.was_read = False

    def __getitem__(self, key: str) -> str:
        value = self._values[key]
        self.was_read = True
        return value

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)


class FolderChecks:
    """Checks of model folders, good and bad."""

    needs_files: ClassVar[bool] = True
    """False: the models need no files, and an empty folder loads."""

    def test_probe_finds_no_problem_in_a_good_folder(
        self, backend: Backend, model_dir: Path
    ) -> None:
        probe = backend.probe(ModelConfig(model_dir=model_dir))
        assert probe is not None, (
            f"{model_dir} is loaded, but `probe` knows nothing in it, and so the server would not "
            "choose this backend: return a Probe"
        )
        assert not probe.problems, (
            f"`load` accepts the folder, and `probe` reports {list(probe.problems)}: "
            "what does not stop `load` belongs into Probe.notes"
        )

    def test_probe_is_quick(self, backend: Backend, model_dir: Path) -> None:
        taken = []
        for _ in range(3):
            start = time.perf_counter()
            backend.probe(ModelConfig(model_dir=model_dir))
            taken.append(time.perf_counter() - start)
        assert min(taken) < PROBE_S, (
            f"`probe` takes {min(taken):.2f} s, and {PROBE_S:g} s is allowed: read names, headers "
            "and configuration, and leave weights and the network to `load`"
        )

    def test_probe_has_no_side_effects(self, backend: Backend, model_dir: Path) -> None:
        before = _contents(model_dir), Path.cwd()
        backend.probe(ModelConfig(model_dir=model_dir))
        assert (_contents(model_dir), Path.cwd()) == before, (
            "`probe` changed the model folder or the current directory: it only looks, for it is "
            "asked about every folder, also those of other backends, which may be read-only"
        )

    def test_probe_leaves_other_folders_to_others(self, backend: Backend, tmp_path: Path) -> None:
        (tmp_path / "holiday.txt").write_text("nothing that any model needs")
        probe = backend.probe(ModelConfig(model_dir=tmp_path))
        if self.needs_files:
            assert probe is None, (
                "`probe` claims a folder with nothing of this backend in it, and so no other "
                "backend would be chosen for it: return None there"
            )
        else:
            assert probe is not None, "needs_files = False is declared, and `probe` returns None"
        missing = tmp_path / "missing"
        assert backend.probe(ModelConfig(model_dir=missing)) is None, (
            "`probe` must return None for a folder that does not exist"
        )

    def test_empty_folder_is_refused(self, backend: Backend, tmp_path: Path) -> None:
        """Random weights are never served."""
        if self.needs_files:
            error = _raised(backend, ModelConfig(model_dir=tmp_path))
            assert isinstance(error, InvalidModel), (
                f"`load` of an empty folder {_told(error)}: raise maskrcnn_server.errors."
                "InvalidModel with what is missing, and never serve random weights"
            )
        else:
            backend.load(ModelConfig(model_dir=tmp_path)).close()

    @pytest.mark.parametrize("damage", DAMAGES)
    def test_damaged_files_are_refused_by_errors_of_ours(
        self, backend: Backend, model_dir: Path, tmp_path: Path, damage: str
    ) -> None:
        folder = tmp_path / "model"
        shutil.copytree(model_dir, folder)
        for file in folder.rglob("*"):
            if file.is_file():
                file.chmod(0o644)
                data = file.read_bytes()
                file.write_bytes(data[: int(len(data) * DAMAGES[damage])])
        config = ModelConfig(model_dir=folder)
        try:
            backend.probe(config)
        except Exception as error:
            pytest.fail(
                f"`probe` of a folder whose files are {damage} {_told(error)}: catch it, and "
                "return None or a Probe with the problem"
            )
        if self.needs_files:
            refusal = _raised(backend, config)
            assert isinstance(refusal, StartupError), (
                f"`load` of a folder whose files are {damage} {_told(refusal)}: catch it, and "
                "raise maskrcnn_server.errors.InvalidModel with the file and what is wrong"
            )

    @pytest.mark.parametrize(
        "setting", [{"engine": "original"}, {"precision": "float16"}], ids=lambda s: next(iter(s))
    )
    def test_a_setting_that_it_does_not_have_is_refused(
        self, backend: Backend, model_dir: Path, setting: dict[str, Any]
    ) -> None:
        """A known setting is listed among the facts instead."""
        ((key, value),) = setting.items()
        config = replace(ModelConfig(model_dir=model_dir), **setting)
        try:
            model = backend.load(config)
        except InvalidSetting:
            return
        except Exception as error:
            pytest.fail(
                f"`load` with {key}={value!r} {_told(error)}: raise InvalidSetting, for the folder "
                "is fine"
            )
        facts = model.metadata.facts
        model.close()
        assert facts.get(key) == value, (
            f"`load` took {key}={value!r} and does not say so: raise InvalidSetting if the backend "
            f"has no other than the default, else put {key!r} into the facts of its metadata"
        )

    @pytest.mark.parametrize(
        "given",
        [{"overrides": {"NO_SUCH.KEY": "1"}}, {"options": {"no_such_option": "1"}}],
        ids=lambda given: next(iter(given)),
    )
    def test_a_key_that_nobody_knows_is_refused(
        self, backend: Backend, model_dir: Path, given: dict[str, dict[str, str]]
    ) -> None:
        """By the server, if the backend declares its keys; else by the backend."""
        config = replace(ModelConfig(model_dir=model_dir), **given)  # type: ignore[arg-type]
        ((kind, keys),) = given.items()
        try:
            check_keys(backend, config)
            backend.load(config).close()
        except InvalidSetting:
            return
        except Exception as error:
            pytest.fail(f"`load` with {kind} {keys} {_told(error)}: raise InvalidSetting")
        pytest.fail(
            f"{kind} {keys} changed nothing, and nobody was told: give the backend an attribute "
            "`keys` with a maskrcnn_server.keys.Keys of all that it knows, and the server refuses "
            "the rest"
        )

    def test_every_declared_key_is_read(self, backend: Backend, model_dir: Path) -> None:
        """By `probe` or `load`, which may refuse its value."""
        declared = backend.keys if isinstance(backend, DeclaresKeys) else Keys()
        unread = []
        for kind, keys in (("overrides", declared.config), ("options", declared.options)):
            for key in sorted(keys):
                given = Recorded({key: "1"})
                config = replace(
                    ModelConfig(model_dir=model_dir),
                    **{kind: given},  # type: ignore[arg-type]
                )
                with contextlib.suppress(StartupError):
                    backend.probe(config)
                    if not given.was_read:
                        backend.load(config).close()
                unread += [] if given.was_read else [key]
        assert not unread, (
            f"the backend declares {', '.join(unread)}, and neither `probe` nor `load` looks at "
            "its value: obey it, or declare it without effect"
        )

    def test_operators_score_threshold_becomes_the_default(
        self, backend: Backend, model_dir: Path
    ) -> None:
        asked = 0.375
        model = backend.load(ModelConfig(model_dir=model_dir, score_threshold=asked))
        metadata = model.metadata
        model.close()
        assert metadata.score_threshold == asked, (
            f"ModelConfig.score_threshold={asked} was given, and the model's metadata says "
            f"{metadata.score_threshold}: use your own default only if it is None"
        )

    def test_models_side_by_side_do_not_disturb_each_other(
        self, backend: Backend, model_dir: Path, model: Model
    ) -> None:
        options = PredictOptions(score_threshold=0.0, masks=False)
        image = sample_image(160, 160)
        (before,) = model.predict([image], options)
        other = backend.load(ModelConfig(model_dir=model_dir))
        answers = [asked.predict([image], options)[0] for asked in (other, model)]
        other.close()
        answers += model.predict([image], options)
        for found in answers:
            assert found.scores.tolist() == pytest.approx(before.scores.tolist(), abs=1e-4), (
                "a second model of the backend was loaded, asked and closed, and what the first "
                "finds changed: keep nothing that models share in modules or classes"
            )

    def test_close_may_be_called_twice(self, backend: Backend, model_dir: Path) -> None:
        model = backend.load(ModelConfig(model_dir=model_dir))
        model.close()
        try:
            model.close()
        except Exception as error:
            pytest.fail(f"the second `close` {_told(error)}: let it do nothing")


def _contents(folder: Path) -> dict[Path, tuple[int, int]]:
    """Time of the last change and size of each file and folder."""
    return {
        path: (path.stat().st_mtime_ns, path.stat().st_size)
        for path in [folder, *folder.rglob("*")]
    }


def _raised(backend: Backend, config: ModelConfig) -> Exception | None:
    try:
        backend.load(config).close()
    except Exception as error:
        return error
    return None


def _told(error: Exception | None) -> str:
    return "gave a model" if error is None else f"raised {type(error).__name__}: {error}"

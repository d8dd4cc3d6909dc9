"""What a `models.yaml` may say, and what is said of one that says something else."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from maskrcnn_server import settings
from maskrcnn_server.errors import InvalidSetting
from maskrcnn_server.hosting.models_file import Entry, Spec, read_models
from maskrcnn_server.settings import ModelDefaults, ModelSettings, model_config

Write = Callable[[str], Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def written(text: str) -> Path:
        (tmp_path / "models.yaml").write_text(text)
        return tmp_path / "models.yaml"

    return written


def read(path: Path, **given: Any) -> list[Spec]:
    return read_models(path, settings.read(**given).model)


def test_each_model_has_settings_of_its_own_over_the_defaults_over_the_servers(
    write: Write,
) -> None:
    text = """
    defaults: {isolation: process, precision: bfloat16}
    models:
      street: {model: /street, score_threshold: 0.3, memory_limit_mb: 4000, default: true}
      cells: {model: /cells, backend: other, isolation: none, required: true}
    """
    street, cells = read(write(text), backend="mine", max_waiting=7)
    assert (street.name, street.default, street.required) == ("street", True, False)
    assert (cells.name, cells.default, cells.required) == ("cells", False, True)
    for spec, expected in (
        (street, ("/street", "mine", "process", "bfloat16", 0.3, 4000, 7)),
        (cells, ("/cells", "other", "none", "bfloat16", None, None, 7)),
    ):
        own = spec.settings
        assert (
            *(own.address, own.backend, own.isolation, own.precision),
            *(own.score_threshold, own.memory_limit_mb, own.max_waiting),
        ) == expected


def test_the_frameworks_configuration_and_the_backends_options_reach_the_backend(
    write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CONFIG__PREPROC__MAX_SIZE", "1333")
    monkeypatch.setenv("CONFIG__FPN__CASCADE", "true")
    monkeypatch.setenv("AWS_SAMPLES_VARIANT", "tf2")
    text = """
    defaults: {options: {checkout: /code}}
    models:
      a:
        model: /a
        config: {PREPROC: {MAX_SIZE: 1024}, FPN.PROPOSAL_MODE: Level, RPN.ANCHOR_SIZES: [32, 64]}
        options: {variant: tf1}
    """
    (spec,) = read(write(text))
    config = model_config(spec.settings, Path(spec.settings.address), "aws-samples")
    assert config.overrides == {
        "PREPROC.MAX_SIZE": "1024",
        "FPN.CASCADE": "true",
        "FPN.PROPOSAL_MODE": "Level",
        "RPN.ANCHOR_SIZES": "[32, 64]",
    }
    assert config.options == {"variant": "tf1", "checkout": "/code"}
    assert config.model_dir == Path("/a")


@pytest.mark.parametrize(
    ("model", "resolved"),
    [
        ("street", "{here}/street"),
        ("../street", "{here}/../street"),
        ("archive.tar.gz", "{here}/archive.tar.gz"),
        ("/srv/street", "/srv/street"),
        ("s3://bucket/street.tar.gz", "s3://bucket/street.tar.gz"),
        ("https://example.org/a.npz", "https://example.org/a.npz"),
        ("tensorpack:R50FPN2x", "tensorpack:R50FPN2x"),
    ],
)
def test_paths_are_relative_to_the_file(
    write: Write, tmp_path: Path, model: str, resolved: str
) -> None:
    (spec,) = read(write(f"models: {{a: {{model: '{model}'}}}}"))
    assert spec.settings.address == resolved.format(here=tmp_path)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (
            "models: {a: {model: /a, treshold: 1}}",
            r"a.treshold: no such key; the nearest is \w+_threshold",
        ),
        ("models: {a: {model: /a}}\nmodel: /b", "model: no such key; the nearest is models"),
        ("models: {a: {}}", "models.a.model: Field required"),
        ("models: {a: /a}", "models.a: must have keys and values"),
        ("models: {}", "models: "),
        ("", "must have keys and values"),
        ("[1, 2]", "must have keys and values"),
        ("models: {'a/b': {model: /a}}", "models.a/b: a name has up to 63 letters"),
        ("models: {'..': {model: /a}}", "a name has"),
        ("models: {'-a': {model: /a}}", "a name has"),
        ("models: {a: {model: /a, score_threshold: 2}}", "score_threshold: .* less than or equal"),
        ("models: {a: {model: /a, threads: 0}}", "threads: .* greater than 0"),
        ("models: {a: {model: /a, isolation: thread}}", "isolation: .*'none' or 'process'"),
        ("models: {a: {model: /a, predict_timeout_s: -1}}", "predict_timeout_s: "),
        ("models: {a: {model: /a, memory_limit_mb: 9}}", "limit_mb: needs isolation: process"),
        ("models: {a: {model: /a, default: 1.5}}", "default: "),
        ("defaults: {model: /a}\nmodels: {a: {model: /a}}", "defaults.model: no such key"),
        ("models: {a: {model: /a}, a: {model: /b}}", "the key a comes twice .*line 1"),
        ("models: !!python/object/apply:os.system [ls]", "could not determine a constructor"),
        ("models: {a: {model: '\0'}}", "models.yaml: "),
        ("models: {a", "line 1"),
        ("{" * 5000, "models.yaml: "),
        (
            "models: {a: {model: /a, default: true}, b: {model: /b, default: true}}",
            "a and b are both the default",
        ),
    ],
)
def test_what_is_wrong_is_said(write: Write, text: str, problem: str) -> None:
    with pytest.raises(InvalidSetting, match=problem) as caught:
        read(write(text))
    assert "models.yaml: " in caught.value.message


def test_everything_that_is_wrong_is_said_at_once(write: Write) -> None:
    text = "models: {a: {modle: /a}, b: {model: /b, threads: none}, 'c d': {model: /c}}"
    with pytest.raises(InvalidSetting) as caught:
        read(write(text))
    for problem in ("a.model: Field required", "a.modle: no such key", "b.threads: ", "c d: "):
        assert problem in caught.value.message


def test_a_file_that_is_absent_or_too_large_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidSetting, match="No such file"):
        read(tmp_path / "models.yaml")
    (tmp_path / "large.yaml").write_bytes(b"#" * (2 << 20))
    with pytest.raises(InvalidSetting, match="larger than 1 MiB"):
        read(tmp_path / "large.yaml")


def test_every_key_is_a_setting_of_the_server_or_says_what_it_is() -> None:
    own = {"required", "default"}
    assert set(Entry.model_fields) - own == set(ModelSettings.model_fields)
    assert all(field.description for field in Entry.model_fields.values())
    assert set(ModelDefaults.model_fields) == set(ModelSettings.model_fields) - {"address"}


def test_models_may_share_what_an_anchor_names(write: Write) -> None:
    text = "models: {a: &x {model: /a, threads: 2}, b: {<<: *x, model: /b}}"
    a, b = read(write(text))
    assert (a.settings.address, b.settings.address) == ("/a", "/b")
    assert a.settings.threads == b.settings.threads == 2


def test_every_option_of_requests_can_be_said_of_a_model(write: Write) -> None:
    text = """
    defaults: {mask_threshold: 0.4, format: coco, max_detections: 9}
    models:
      a: {model: /a, masks: false, classes: [person, 3], rle: rows}
      b: {model: /b, mask_threshold: 0.7, rpn: true, classes: "cat, dog", format: null}
    """
    a, b = (spec.settings for spec in read(write(text), mask_threshold=0.6))
    assert (a.mask_threshold, a.format, a.max_detections, a.masks) == (0.4, "coco", 9, False)
    assert (b.mask_threshold, b.format, b.max_detections, b.masks) == (0.7, "coco", 9, True)
    assert (a.classes, a.rle, a.rpn) == (["person", 3], "rows", False)
    assert (b.classes, b.rle, b.rpn) == (["cat", "dog"], None, True)

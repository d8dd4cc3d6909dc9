import os
from contextlib import suppress
from pathlib import Path

import pytest
from pydantic import SecretStr, ValidationError

from maskrcnn_server import settings
from maskrcnn_server.errors import InvalidSetting

GOOD: dict[str, tuple[str, object]] = {
    "backend": ("tensorpack", "tensorpack"),
    "model": ("/models/one", "/models/one"),
    "cache": ("/cache", Path("/cache")),
    "zoo_url": ("http://a.example", "http://a.example"),
    "resnet_arch": ("resnet50", "resnet50"),
    "score_threshold": ("0.25", 0.25),
    "mask_threshold": ("0.75", 0.75),
    "max_detections": ("7", 7),
    "masks": ("false", False),
    "classes": ("person, 3", ["person", "3"]),
    "rpn": ("true", True),
    "tile": ("640x512", "640x512"),
    "overlap": ("0.5", 0.5),
    "overview": ("true", True),
    "format": ("coco", "coco"),
    "rle": ("rows", "rows"),
    "host": ("127.0.0.1", "127.0.0.1"),
    "port": ("9000", 9000),
    "api_key": ("secret", SecretStr("secret")),
    "cors_origins": ("https://A.example/, *", ("https://a.example", "*")),
    "allowed_hosts": ("a.example", ("a.example",)),
    "playground": ("false", False),
    "precision": ("bfloat16", "bfloat16"),
    "threads": ("3", 3),
    "max_batch": ("16", 16),
    "timeout_s": ("2.5", 2.5),
    "drain_timeout_s": ("7", 7),
    "shutdown_delay_s": ("7.5", 7.5),
    "max_waiting": ("0", 0),
    "engine": ("original", "original"),
    "device": ("cuda:1", "cuda:1"),
    "streams": ("2", 2),
    "isolation": ("process", "process"),
    "predict_timeout_s": ("12.5", 12.5),
    "load_timeout_s": ("90", 90),
    "memory_limit_mb": ("4000", 4000),
    "models_file": ("/models.yaml", Path("/models.yaml")),
    "multi_model": ("true", True),
    "models_dir": ("/models", Path("/models")),
    "models_memory_mb": ("2048", 2048),
    "models_evict": ("true", True),
    "max_concurrent_transforms": ("3", 3),
    "max_payload_mb": ("1.5", 1.5),
    "local_s3": ("/s3", Path("/s3")),
    "error_entries": ("true", True),
    "max_bodies_mb": ("100", 100),
    "max_connections": ("100", 100),
    "keep_alive_s": ("9.5", 9.5),
    "headers_timeout_s": ("8.5", 8.5),
    "body_timeout_s": ("7.5", 7.5),
    "write_timeout_s": ("6.5", 6.5),
    "max_image_pixels": ("1000", 1000),
    "log_level": ("debug", "debug"),
    "log_format": ("JSON", "json"),
    "otel_endpoint": ("http://a.example:4318", "http://a.example:4318"),
}
"""A value that is not the default for each field, as text and as read."""

DOCUMENTED = {
    "MASKRCNN_BACKEND": "backend",
    "MASKRCNN_MODEL": "model",
    "MASKRCNN_ENGINE": "engine",
    "MASKRCNN_DEVICE": "device",
    "MASKRCNN_PRECISION": "precision",
    "MASKRCNN_ISOLATION": "isolation",
    "MASKRCNN_PREDICT_TIMEOUT": "predict_timeout_s",
    "MASKRCNN_LOAD_TIMEOUT": "load_timeout_s",
    "MASKRCNN_MEMORY_LIMIT_MB": "memory_limit_mb",
    "MASKRCNN_THREADS": "threads",
    "MASKRCNN_STREAMS": "streams",
    "MASKRCNN_MODELS": "models_file",
    "MASKRCNN_MULTI_MODEL": "multi_model",
    "MASKRCNN_MODELS_DIR": "models_dir",
    "MASKRCNN_MODELS_MEMORY_MB": "models_memory_mb",
    "MASKRCNN_MODELS_EVICT": "models_evict",
    "MASKRCNN_MAX_CONCURRENT_TRANSFORMS": "max_concurrent_transforms",
    "MASKRCNN_CACHE": "cache",
    "MASKRCNN_ZOO_URL": "zoo_url",
    "RESNET_ARCH": "resnet_arch",
    "MASKRCNN_SCORE_THRESHOLD": "score_threshold",
    "MASKRCNN_MASK_THRESHOLD": "mask_threshold",
    "MASKRCNN_MAX_DETECTIONS": "max_detections",
    "MASKRCNN_MASKS": "masks",
    "MASKRCNN_CLASSES": "classes",
    "MASKRCNN_RPN": "rpn",
    "MASKRCNN_TILE": "tile",
    "MASKRCNN_OVERLAP": "overlap",
    "MASKRCNN_OVERVIEW": "overview",
    "MASKRCNN_FORMAT": "format",
    "MASKRCNN_RLE": "rle",
    "MASKRCNN_HOST": "host",
    "MASKRCNN_PORT": "port",
    "MASKRCNN_API_KEY": "api_key",
    "MASKRCNN_CORS_ORIGINS": "cors_origins",
    "MASKRCNN_ALLOWED_HOSTS": "allowed_hosts",
    "MASKRCNN_PLAYGROUND": "playground",
    "MASKRCNN_MAX_BATCH": "max_batch",
    "MASKRCNN_TIMEOUT": "timeout_s",
    "MASKRCNN_DRAIN_TIMEOUT": "drain_timeout_s",
    "MASKRCNN_SHUTDOWN_DELAY": "shutdown_delay_s",
    "MASKRCNN_MAX_WAITING": "max_waiting",
    "MASKRCNN_MAX_PAYLOAD_MB": "max_payload_mb",
    "MASKRCNN_LOCAL_S3": "local_s3",
    "MASKRCNN_ERROR_ENTRIES": "error_entries",
    "MASKRCNN_MAX_BODIES_MB": "max_bodies_mb",
    "MASKRCNN_MAX_CONNECTIONS": "max_connections",
    "MASKRCNN_KEEP_ALIVE": "keep_alive_s",
    "MASKRCNN_HEADERS_TIMEOUT": "headers_timeout_s",
    "MASKRCNN_BODY_TIMEOUT": "body_timeout_s",
    "MASKRCNN_WRITE_TIMEOUT": "write_timeout_s",
    "MASKRCNN_MAX_IMAGE_PIXELS": "max_image_pixels",
    "MASKRCNN_LOG_LEVEL": "log_level",
    "MASKRCNN_LOG_FORMAT": "log_format",
    "OTEL_EXPORTER_OTLP_ENDPOINT": "otel_endpoint",
}

OLDER = {
    "BACKEND": "MASKRCNN_BACKEND",
    "SM_MODEL_DIR": "MASKRCNN_MODEL",
    "SAGEMAKER_BIND_TO_PORT": "MASKRCNN_PORT",
    "AIP_HTTP_PORT": "MASKRCNN_PORT",
    "SAGEMAKER_MULTI_MODEL": "MASKRCNN_MULTI_MODEL",
    "SAGEMAKER_MAX_CONCURRENT_TRANSFORMS": "MASKRCNN_MAX_CONCURRENT_TRANSFORMS",
    "MODEL_SERVER_TIMEOUT": "MASKRCNN_TIMEOUT",
    "SAGEMAKER_MAX_PAYLOAD_IN_MB": "MASKRCNN_MAX_PAYLOAD_MB",
    "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "OTEL_EXPORTER_OTLP_ENDPOINT",
}
"""Older containers' and SageMaker's names for documented variables."""

FIELDS = DOCUMENTED | {alias: DOCUMENTED[name] for alias, name in OLDER.items()}


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in os.environ:
        if name in FIELDS or name in settings.IGNORED or name.startswith(("MASKRCNN_", "CONFIG__")):
            monkeypatch.delenv(name)


def said(read: settings.Settings, name: str) -> object:
    """The value of a setting, whether of the server or of its model."""
    if name == "model":
        return read.model.address
    return getattr(read.model if name in settings.ModelSettings.model_fields else read, name)


def test_every_variable_is_in_this_file() -> None:
    names = {name: field for field, names in settings.variable_names().items() for name in names}
    assert names == FIELDS


def test_the_documented_name_comes_first() -> None:
    assert {names[0] for names in settings.variable_names().values()} == set(DOCUMENTED)


def test_every_setting_has_a_description() -> None:
    assert all(info.description for info in settings.settings_by_name().values())


def test_nothing_has_to_be_set() -> None:
    default = settings.read()
    assert default.model.backend is None
    assert default.model.score_threshold is None
    assert (default.model.address, default.port) == ("/opt/ml/model", 8080)
    assert (default.model.mask_threshold, default.model.format) == (0.5, "sagemaker")


@pytest.mark.parametrize(("name", "field"), FIELDS.items(), ids=FIELDS)
def test_every_variable_is_read(name: str, field: str, monkeypatch: pytest.MonkeyPatch) -> None:
    text, value = GOOD[field]
    assert said(settings.read(), field) != value
    monkeypatch.setenv(name, text)
    assert said(settings.read(), field) == value


@pytest.mark.parametrize(("alias", "name"), OLDER.items(), ids=OLDER)
def test_the_documented_variable_wins(
    alias: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    default = settings.read()
    text, value = GOOD[DOCUMENTED[name]]
    monkeypatch.setenv(alias, str(said(default, DOCUMENTED[name]) or "other"))
    monkeypatch.setenv(name, text)
    assert said(settings.read(), DOCUMENTED[name]) == value


@pytest.mark.parametrize("name", FIELDS)
def test_empty_counts_as_unset(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    default = settings.read()
    monkeypatch.setenv(name, "")
    assert settings.read() == default


@pytest.mark.parametrize(("alias", "name"), OLDER.items(), ids=OLDER)
def test_an_older_name_counts_where_the_documented_one_is_empty(
    alias: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    text, value = GOOD[DOCUMENTED[name]]
    monkeypatch.setenv(alias, text)
    monkeypatch.setenv(name, "")
    assert said(settings.read(), DOCUMENTED[name]) == value


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("MASKRCNN_SCORE_THRESHOLD", "1.1"),
        ("MASKRCNN_SCORE_THRESHOLD", "-0.1"),
        ("MASKRCNN_SCORE_THRESHOLD", "nan"),
        ("MASKRCNN_SCORE_THRESHOLD", "half"),
        ("MASKRCNN_MASK_THRESHOLD", "0"),
        ("MASKRCNN_PORT", "65536"),
        ("MASKRCNN_PORT", "80.5"),
        ("SAGEMAKER_BIND_TO_PORT", "-1"),
        ("MASKRCNN_TIMEOUT", "0"),
        ("MASKRCNN_TIMEOUT", "inf"),
        ("MODEL_SERVER_TIMEOUT", "1m"),
        ("MASKRCNN_DRAIN_TIMEOUT", "-1"),
        ("MASKRCNN_MAX_WAITING", "-1"),
        ("MASKRCNN_MAX_PAYLOAD_MB", "-1"),
        ("SAGEMAKER_MAX_PAYLOAD_IN_MB", "six"),
        ("MASKRCNN_MAX_IMAGE_PIXELS", "0"),
        ("MASKRCNN_LOG_LEVEL", "loud"),
        ("MASKRCNN_LOG_FORMAT", "xml"),
    ],
)
def test_a_bad_value_is_reported_by_the_variable_that_was_set(
    name: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(InvalidSetting, match=rf"^{name}={value}: \S+"):
        settings.read()


def test_a_bad_value_of_an_older_name_is_reported_where_the_documented_one_is_empty(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("MASKRCNN_PORT", "")
    monkeypatch.setenv("SAGEMAKER_BIND_TO_PORT", "high")
    with pytest.raises(InvalidSetting, match=r"^SAGEMAKER_BIND_TO_PORT=high: "):
        settings.read()


def test_a_bad_value_in_small_letters_is_ignored_or_reported(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("maskrcnn_port", "high")
    with suppress(InvalidSetting):
        settings.read()


@pytest.mark.parametrize(
    ("unknown", "nearest"),
    [
        ("MASKRCNN_BACKENDS", "MASKRCNN_BACKEND"),
        ("MASKRCNN_MODELDIR", "MASKRCNN_MODELS_DIR"),
        ("MASKRCNN_SCORE_TRESHOLD", "MASKRCNN_SCORE_THRESHOLD"),
    ],
)
def test_an_unknown_name_suggests_the_nearest(
    unknown: str, nearest: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(unknown, "1")
    with pytest.raises(InvalidSetting, match=f"^{unknown}: no such setting.* {nearest}$"):
        settings.read()


def test_strangers_variables_are_none_of_our_business(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PORT", "high")
    monkeypatch.setenv("MASK", "on")
    assert settings.read().port == 8080


def test_given_arguments_win(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MASKRCNN_PORT", "81")
    monkeypatch.setenv("SM_MODEL_DIR", "/env")
    given = settings.read(port=82, model="/given", backend=None)
    assert (given.port, given.model.address, given.model.backend) == (82, "/given", None)


def test_arguments_of_none_are_not_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MASKRCNN_PORT", "81")
    assert settings.read(port=None).port == 81


def test_a_bad_argument_is_reported_with_its_value(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MASKRCNN_PORT", "81")
    with pytest.raises(InvalidSetting, match=r"^MASKRCNN_PORT=-5: "):
        settings.read(port=-5)


def test_settings_do_not_change() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        settings.read().port = 1


def test_overrides_are_dotted_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONFIG__FPN__ANCHOR_STRIDES", "[4, 8]")
    monkeypatch.setenv("CONFIG__MODE_MASK", "False")
    monkeypatch.setenv("CONFIG_FILE", "x")
    expected = {"FPN.ANCHOR_STRIDES": "[4, 8]", "MODE_MASK": "False"}
    assert settings.overrides() == settings.read().model.config == expected


def test_a_backend_has_options_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SAMPLES_VARIANT", "tf1")
    monkeypatch.setenv("AWS_SAMPLES_EMPTY", "")
    monkeypatch.setenv("AWS_REGION", "eu-west-1")
    assert settings.backend_options("aws_samples") == {"variant": "tf1"}
    assert settings.backend_options("aws_samples") == {"variant": "tf1"}


def test_variables_without_meaning_are_told_why(monkeypatch: pytest.MonkeyPatch) -> None:
    assert settings.ignored() == {}
    monkeypatch.setenv("PRETRAINED_MODEL", "s3://bucket/resnet.npz")
    assert settings.ignored() == {"PRETRAINED_MODEL": settings.IGNORED["PRETRAINED_MODEL"]}


@pytest.mark.parametrize(
    ("variable", "value", "name", "read"),
    [
        ("SAGEMAKER_MAX_CONCURRENT_TRANSFORMS", "0", "max_concurrent_transforms", 2),
        ("SAGEMAKER_MAX_PAYLOAD_IN_MB", "0", "max_payload_mb", 1024),
        ("MODEL_SERVER_TIMEOUT", "7200", "timeout_s", 7200),
    ],
)
def test_what_sagemaker_sets_does_not_stop_the_server(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str, name: str, read: float
) -> None:
    monkeypatch.setenv(variable, value)
    assert getattr(settings.read(), name) == read

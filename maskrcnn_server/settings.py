"""The environment: every variable the server reads, its type, its default and what it means."""

import difflib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal, TypeAlias, cast

from pydantic import AliasChoices, BeforeValidator, Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from maskrcnn_server.backend import Isolation, ModelConfig, Precision
from maskrcnn_server.engine import AUTO
from maskrcnn_server.errors import InvalidSetting

OVERRIDE_PREFIX = "CONFIG__"
"""`CONFIG__A__B=value` overrides key A.B of the framework's own configuration."""

OWN_PREFIX = "MASKRCNN_"

OPTIONS = {"AWS_MASKRCNN": "AWS_SAMPLES_MASKRCNN"}
"""Variables that are an option of a backend without its name in front."""

IGNORED = {
    "PRETRAINED_MODEL": "backbone weights are part of the checkpoint",
    "MODEL_SERVER_WORKERS": "one process serves all requests",
}
"""Variables of the containers this server replaces that have no meaning any more, and why."""


def _renamed(engine: object) -> object:
    """The name that an engine is chosen by: `auto` was called `native`."""
    return AUTO if engine == "native" else engine


EngineName: TypeAlias = Annotated[
    str, BeforeValidator(_renamed), Field(pattern=r"^[a-z0-9][a-z0-9_]*$")
]
DeviceName: TypeAlias = Annotated[str, Field(pattern=r"^(auto|cpu|cuda(:\d{1,3})?)$")]


def _names(*names: str) -> AliasChoices:
    """The first name is the documented one; the others are older containers' and SageMaker's."""
    return AliasChoices(*names)


class Settings(BaseSettings):
    """Settings of the server, from the environment. Empty variables count as unset."""

    model_config = SettingsConfigDict(
        case_sensitive=True,
        env_ignore_empty=True,
        extra="ignore",
        frozen=True,
        hide_input_in_errors=True,
    )

    backend: str | None = Field(
        None,
        validation_alias=_names("MASKRCNN_BACKEND", "BACKEND"),
        description="Name of the backend. Unset: the only one installed, or the only one that "
        "recognises the model folder.",
    )
    model: str = Field(
        "/opt/ml/model",
        validation_alias=_names("MASKRCNN_MODEL", "SM_MODEL_DIR"),
        description="Where the model is: a folder, an archive, an `s3://` or `https://` address, "
        "or a name of the zoo.",
    )
    engine: EngineName = Field(
        "auto",
        validation_alias=_names("MASKRCNN_ENGINE"),
        description="What computes: `openvino`, `torch`, `tensorflow`, another that is installed, "
        "or `original`: the code of the framework that trained the model, from your checkout of "
        "it. `auto`: torch on a GPU, else openvino, else tensorflow.",
    )
    device: DeviceName = Field(
        "auto",
        validation_alias=_names("MASKRCNN_DEVICE"),
        description="Device that computes: `cpu`, `cuda`, or `cuda:1` for the second GPU. `auto`: "
        "a GPU that can be used, else the CPU.",
    )
    precision: Precision = Field(
        "float32",
        validation_alias=_names("MASKRCNN_PRECISION"),
        description="`float32`, or what is faster and a little less exact: `int8` (openvino, after "
        "`calibrate`), `bfloat16` (CPUs with AVX-512 BF16 or AMX, GPUs from Ampere on), `float16` "
        "and `tf32` (GPUs).",
    )
    isolation: Isolation = Field(
        "none",
        validation_alias=_names("MASKRCNN_ISOLATION"),
        description="`none`, or `process`: the model runs in a process of its own, which is "
        "started again when it ends.",
    )
    predict_timeout_s: float = Field(
        300,
        gt=0,
        le=3600,
        validation_alias=_names("MASKRCNN_PREDICT_TIMEOUT"),
        description="Seconds, up to 3600, that a model may compute one request. Then the process "
        "of an isolated model is ended; else `/ping` is 503 until it answers.",
    )
    load_timeout_s: float = Field(
        600,
        gt=0,
        le=7200,
        validation_alias=_names("MASKRCNN_LOAD_TIMEOUT"),
        description="Seconds, up to 7200, that an isolated model, or one of several, may take to "
        "load.",
    )
    memory_limit_mb: Annotated[int, Field(gt=0)] | None = Field(
        None,
        validation_alias=_names("MASKRCNN_MEMORY_LIMIT_MB"),
        description="Memory in MiB that the process of an isolated model may take; then it is "
        "ended. Unset: what there is.",
    )
    threads: Annotated[int, Field(gt=0)] | None = Field(
        None,
        validation_alias=_names("MASKRCNN_THREADS"),
        description="Threads that compute. Unset: one for each CPU of the machine or container.",
    )
    streams: Annotated[int, Field(gt=0)] | None = Field(
        None,
        validation_alias=_names("MASKRCNN_STREAMS"),
        description="Images that a CPU computes side by side, each with its share of the threads. "
        "Unset: one for each 8 threads.",
    )
    models_file: Path | None = Field(
        None,
        validation_alias=_names("MASKRCNN_MODELS"),
        description="A `models.yaml` that says which models to serve, by name. Unset: the one of "
        "`MASKRCNN_MODEL`.",
    )
    multi_model: bool = Field(
        False,
        validation_alias=_names("MASKRCNN_MULTI_MODEL", "SAGEMAKER_MULTI_MODEL"),
        description="Host several models, loaded and unloaded by SageMaker's multi-model calls.",
    )
    models_dir: Path = Field(
        Path("/opt/ml/models"),
        validation_alias=_names("MASKRCNN_MODELS_DIR"),
        description="Folder below which models of a multi-model server are.",
    )
    models_memory_mb: Annotated[int, Field(gt=0)] | None = Field(
        None,
        validation_alias=_names("MASKRCNN_MODELS_MEMORY_MB"),
        description="Memory in MiB for the models of a multi-model server. Unset: four fifths of "
        "what the machine or container has.",
    )
    models_evict: bool = Field(
        False,
        validation_alias=_names("MASKRCNN_MODELS_EVICT"),
        description="Whether a model without room has the least recently used unloaded, or is "
        "answered 507, after which SageMaker unloads what it chooses.",
    )
    max_concurrent_transforms: int = Field(
        2,
        gt=0,
        le=1000,
        validation_alias=_names(
            "MASKRCNN_MAX_CONCURRENT_TRANSFORMS", "SAGEMAKER_MAX_CONCURRENT_TRANSFORMS"
        ),
        description="Requests that batch transform is told to send at a time.",
    )
    cache: Path = Field(
        Path("~/.cache/maskrcnn-server"),
        validation_alias=_names("MASKRCNN_CACHE"),
        description="Folder for models that were downloaded or unpacked.",
    )
    zoo_url: str | None = Field(
        None,
        validation_alias=_names("MASKRCNN_ZOO_URL"),
        description="Address to take models of the zoo from. Unset: where they are published.",
    )
    resnet_arch: str | None = Field(
        None,
        validation_alias=_names("RESNET_ARCH"),
        description="Architecture you expect, such as `resnet50` or `resnet101`. The checkpoint "
        "decides; a mismatch is an error at start.",
    )
    score_threshold: Annotated[float, Field(ge=0, le=1)] | None = Field(
        None,
        validation_alias=_names("MASKRCNN_SCORE_THRESHOLD"),
        description="Default score threshold, 0 to 1. Unset: the backend's own.",
    )
    mask_threshold: float = Field(
        0.5,
        gt=0,
        le=1,
        validation_alias=_names("MASKRCNN_MASK_THRESHOLD"),
        description="Default mask threshold, more than 0, to 1.",
    )
    response_format: str = Field(
        "sagemaker",
        validation_alias=_names("MASKRCNN_FORMAT"),
        description="Response format of requests that ask for none.",
    )
    host: str = Field(
        "0.0.0.0",  # noqa: S104 (a container's server is reached from outside it)
        validation_alias=_names("MASKRCNN_HOST"),
        description="Address to listen on.",
    )
    port: int = Field(
        8080,
        ge=0,
        le=65535,
        validation_alias=_names("MASKRCNN_PORT", "SAGEMAKER_BIND_TO_PORT"),
        description="Port to listen on; 0 takes a free one and prints it.",
    )
    playground: bool | None = Field(
        None,
        validation_alias=_names("MASKRCNN_PLAYGROUND"),
        description="Whether `/` is a page to try the model by. Unset: yes, but not on SageMaker.",
    )
    max_batch: int = Field(
        4,
        gt=0,
        le=64,
        validation_alias=_names("MASKRCNN_MAX_BATCH"),
        description="Requests whose images the network computes in one call at most, where that is "
        "faster and changes no answer. Twice as many have their images in memory.",
    )
    timeout_s: float = Field(
        60,
        gt=0,
        le=3600,
        validation_alias=_names("MASKRCNN_TIMEOUT", "MODEL_SERVER_TIMEOUT"),
        description="Seconds, up to 3600, that a request may wait before it is answered 504.",
    )
    drain_timeout_s: int = Field(
        20,
        ge=0,
        validation_alias=_names("MASKRCNN_DRAIN_TIMEOUT"),
        description="Seconds that running requests get to finish after SIGTERM.",
    )
    max_waiting: int = Field(
        32,
        ge=0,
        validation_alias=_names("MASKRCNN_MAX_WAITING"),
        description="Requests that may wait for the model; more are answered 429.",
    )
    max_payload_mb: float = Field(
        20,
        gt=0,
        le=1024,
        validation_alias=_names("MASKRCNN_MAX_PAYLOAD_MB", "SAGEMAKER_MAX_PAYLOAD_IN_MB"),
        description="Largest request body in MiB, up to 1024; larger ones are answered 413.",
    )
    max_image_pixels: int = Field(
        50_000_000,
        gt=0,
        validation_alias=_names("MASKRCNN_MAX_IMAGE_PIXELS"),
        description="Largest image in pixels; larger ones are refused before they are decoded.",
    )
    log_level: Annotated[
        Literal["debug", "info", "warning", "error"], BeforeValidator(str.lower)
    ] = Field(
        "info",
        validation_alias=_names("MASKRCNN_LOG_LEVEL"),
        description="How much to log.",
    )
    log_format: Annotated[Literal["text", "json"], BeforeValidator(str.lower)] = Field(
        "text",
        validation_alias=_names("MASKRCNN_LOG_FORMAT"),
        description="`text`, or `json`: one object a line.",
    )
    otel_endpoint: str | None = Field(
        None,
        validation_alias=_names(
            "OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"
        ),
        description="Address of an OpenTelemetry collector, for spans by OTLP over HTTP (extra "
        "`[opentelemetry]`). Unset: no spans.",
    )


class ModelSettings(Settings):
    """The settings of one of several models. Made by `model_construct`: they read no variables."""

    config: Mapping[str, str]
    """The framework's configuration, as `overrides` has it, over what the environment says."""
    options: Mapping[str, str]
    """The backend's options, as `backend_options` has them, over what the environment says."""


def read(**given: object) -> Settings:
    """Settings from the environment, with those `given` by field name on top (None: not given).

    Raises InvalidSetting, naming the first bad variable and its rule.
    """
    variables = variable_names()
    _refuse_unknown({name for names in variables.values() for name in names})
    values = {variables[field][0]: value for field, value in given.items() if value is not None}
    try:
        return Settings.model_validate(values)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        names = next(names for names in variables.values() if first["loc"][0] in names)
        name = next(name for name in names if name in values or os.environ.get(name))
        raise InvalidSetting(
            f"{name}={values.get(name, os.environ.get(name))}: {first['msg']}"
        ) from None


def overrides() -> dict[str, str]:
    """The framework's configuration from `CONFIG__A__B` variables: dotted key to literal."""
    return {
        name.removeprefix(OVERRIDE_PREFIX).replace("__", "."): value
        for name, value in os.environ.items()
        if name.startswith(OVERRIDE_PREFIX)
    }


def backend_options(backend: str) -> dict[str, str]:
    """The options of a backend, from variables that begin with its name: `NAME_OPTION=value`."""
    prefix = backend.upper().replace("-", "_") + "_"
    return {
        OPTIONS.get(name, name).removeprefix(prefix).lower(): value
        for name, value in os.environ.items()
        if OPTIONS.get(name, name).startswith(prefix) and value
    }


def model_config(settings: Settings, backend: str) -> ModelConfig:
    """What the settings and the environment say of the model, for one backend."""
    config, options = overrides(), backend_options(backend)
    if isinstance(settings, ModelSettings):
        config, options = {**config, **settings.config}, {**options, **settings.options}
    return ModelConfig(
        model_dir=Path(settings.model),
        resnet_arch=settings.resnet_arch,
        overrides=config,
        options=options,
        score_threshold=settings.score_threshold,
        engine=settings.engine,
        device=settings.device,
        precision=settings.precision,
        threads=settings.threads,
        streams=settings.streams,
    )


def has_playground(settings: Settings) -> bool:
    """Whether `/` is the playground. On SageMaker, which sets variables of its own, it is not,
    unless somebody says so."""
    if settings.playground is not None:
        return settings.playground
    return not any(value and name.startswith("SAGEMAKER_") for name, value in os.environ.items())


def without_settings() -> dict[str, str]:
    """The environment without any setting of the server."""
    known = {name for names in variable_names().values() for name in names}
    return {
        name: value
        for name, value in os.environ.items()
        if name not in known and not name.startswith(OVERRIDE_PREFIX)
    }


def ignored() -> dict[str, str]:
    """The variables that are set and have no meaning any more, and why."""
    return {name: reason for name, reason in IGNORED.items() if name in os.environ}


def variable_names() -> dict[str, tuple[str, ...]]:
    """The environment variables of each field, the documented one first."""
    names = {}
    for field, info in Settings.model_fields.items():
        alias = cast(AliasChoices, info.validation_alias)
        names[field] = tuple(str(choice) for choice in alias.choices)
    return names


def _refuse_unknown(known: set[str]) -> None:
    for name in os.environ:
        if name.startswith(OWN_PREFIX) and name not in known:
            nearest = difflib.get_close_matches(name, known, n=1, cutoff=0)[0]
            raise InvalidSetting(f"{name}: no such setting; the nearest is {nearest}")

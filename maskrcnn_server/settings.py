"""The environment: every variable the server reads, its type, its default and what it means."""

import difflib
import os
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, Literal, TypeAlias, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    Field,
    SecretStr,
    ValidationError,
    model_validator,
)
from pydantic.fields import FieldInfo
from typing_extensions import Self

from maskrcnn_server.backend import Isolation, ModelConfig, Precision
from maskrcnn_server.declaring import (
    FROZEN,
    Listed,
    Literals,
    Number,
    Seconds,
    Variables,
    printable,
)
from maskrcnn_server.engine import AUTO
from maskrcnn_server.errors import InvalidSetting
from maskrcnn_server.machine import gpus
from maskrcnn_server.options import FORMAT, MASK_THRESHOLD, Options

OVERRIDE_PREFIX = "CONFIG__"
"""`CONFIG__A__B=value` overrides key A.B of the framework's own configuration."""

OWN_PREFIX = "MASKRCNN_"
"""Prefix of the server's own variables; an unknown one is refused."""

API_KEY = "MASKRCNN_API_KEY"
"""Variable whose value is never shown."""

OPTIONS = {"AWS_MASKRCNN": "AWS_SAMPLES_MASKRCNN"}
"""Variables that are options of a backend, without its name in front, and their full names."""

IGNORED = {
    "PRETRAINED_MODEL": "backbone weights are part of the checkpoint",
    "MODEL_SERVER_WORKERS": "one process serves all requests",
}
"""Variables of the containers this server replaces that have no meaning any more, and why."""


def _renamed(engine: object) -> object:
    """Name of the engine; `auto` was called `native`."""
    return AUTO if engine == "native" else engine


EngineName: TypeAlias = Annotated[
    str, BeforeValidator(_renamed), Field(pattern=r"^[a-z0-9][a-z0-9_]*$")
]
TRANSFORMS = 2
"""Default of `MASKRCNN_MAX_CONCURRENT_TRANSFORMS`."""
MAX_PAYLOAD_MB = 1024
"""Largest value of `MASKRCNN_MAX_PAYLOAD_MB`."""


class ModelDefaults(Options):
    """Settings of a model except its address: how to load it, how to run it, and the defaults of
    its requests."""

    model_config = FROZEN

    mask_threshold: Annotated[float, MASK_THRESHOLD] = 0.5
    format: Annotated[str, FORMAT] = "sagemaker"
    backend: Annotated[str | None, Variables("MASKRCNN_BACKEND", "BACKEND")] = None
    """Name of the backend. Unset: the only one installed, or the only one that accepts the model
    folder."""
    engine: EngineName = AUTO
    """Engine: `openvino`, `torch`, `tensorflow`, another that is installed, or `original`, the code
    of the framework that trained the model, from your checkout of it. `auto`: torch on a GPU, else
    openvino, tensorflow, torch on a CPU."""
    device: str = Field(
        AUTO, pattern=r"^(auto|cuda|(cpu|cuda:\d{1,3})(,(cpu|cuda:\d{1,3})){0,63})$"
    )
    """Device that computes: `cpu`, `cuda:0`, or several with commas between them: `cuda:0,cuda:1`,
    each with a process of its own (`maskrcnn-workers`). `cuda`: every GPU. `auto`: every GPU if one
    can be used, else the CPU."""
    precision: Precision = "float32"
    """`float32`, or a faster and slightly less exact one: `int8` (openvino, after `calibrate`),
    `bfloat16` (CPUs with AVX-512 BF16 or AMX, GPUs from Ampere on), `float16` and `tf32` (GPUs)."""
    isolation: Isolation = "none"
    """`none`, or `process`: the model runs in a process of its own (`maskrcnn-workers`), which is
    restarted when it ends."""
    predict_timeout_s: float = Field(300, gt=0, le=3600)
    """Seconds, up to 3600, that a model may compute one request. After that, the process of an
    isolated model is ended; for any other model, `/ping` is 503 until it finishes."""
    load_timeout_s: float = Field(600, gt=0, le=7200)
    """Seconds, up to 7200, that an isolated model, or one of several, may take to load."""
    memory_limit_mb: Number | None = None
    """Memory in MiB that the process of an isolated model may use before it is ended. Unset: no
    limit."""
    threads: Number | None = None
    """Number of compute threads. Unset: one for each CPU of the machine or container."""
    streams: Number | None = None
    """Number of images that a CPU computes at the same time, each with its share of the threads.
    Unset: one for each 8 threads."""
    resnet_arch: Annotated[str | None, Variables("RESNET_ARCH")] = None
    """Architecture that you expect, such as `resnet50` or `resnet101`. The checkpoint decides; a
    mismatch is an error at start."""
    max_batch: int = Field(8, gt=0, le=64)
    """Number of requests, at most, whose images the network computes in one call, where that is
    faster and does not change results. Twice as many have their images in memory."""
    max_waiting: int = Field(32, ge=0)
    """Number of requests that may wait for the model. Any more get 429."""
    config: Annotated[Literals, Variables()] = Field({})
    """The framework's configuration, as in `CONFIG__A__B`."""
    options: Annotated[Literals, Variables()] = Field({})
    """The backend's options, such as `variant: tf1`."""

    @model_validator(mode="before")
    @classmethod
    def _without_nulls(cls, values: Any) -> Any:
        """Without keys that are null: they say nothing."""
        if not isinstance(values, dict):
            return values
        return {key: value for key, value in values.items() if value is not None}


class ModelSettings(ModelDefaults):
    """Settings of one model."""

    address: Annotated[str, Variables("MASKRCNN_MODEL", "SM_MODEL_DIR")] = Field(
        "/opt/ml/model", alias="model", min_length=1
    )
    """The model: a folder, an archive, an `s3://` or `https://` address, or a name from the zoo."""

    def over(self, given: ModelDefaults) -> Self:
        """These settings, replaced by those that are `given`; mappings are merged."""
        values = {name: getattr(given, name) for name in given.model_fields_set}
        for name in ("config", "options"):
            values[name] = {**getattr(self, name), **getattr(given, name)}
        known = {
            name: value for name, value in values.items() if name in ModelSettings.model_fields
        }
        return self.model_copy(update=known)


class Settings(BaseModel):
    """Settings of the server, and of its model."""

    model_config = FROZEN

    model: ModelSettings = ModelSettings()
    """The server's own model; with several models, the defaults of each."""
    models_file: Annotated[Path | None, Variables("MASKRCNN_MODELS")] = None
    """Path of a `models.yaml`, which lists the models to serve by name. Unset: the model of
    `MASKRCNN_MODEL`."""
    multi_model: Annotated[bool, Variables("MASKRCNN_MULTI_MODEL", "SAGEMAKER_MULTI_MODEL")] = False
    """Whether SageMaker's multi-model calls load and unload models."""
    models_dir: Path = Path("/opt/ml/models")
    """Folder that holds the models of a multi-model server."""
    models_memory_mb: Number | None = None
    """Memory in MiB for the models of a multi-model server. Unset: four fifths of what the machine
    or container has."""
    models_evict: bool = False
    """Whether the server unloads the least recently used model if another needs its memory. If not,
    it replies 507, and SageMaker unloads one of its choice."""
    max_concurrent_transforms: Annotated[
        int,
        Variables("MASKRCNN_MAX_CONCURRENT_TRANSFORMS", "SAGEMAKER_MAX_CONCURRENT_TRANSFORMS"),
        AfterValidator(lambda value: value or TRANSFORMS),
    ] = Field(TRANSFORMS, ge=0, le=1000)
    """Number of requests that batch transform sends at a time. 0: the default."""
    cache: Path = Path("~/.cache/maskrcnn-server")
    """Folder for models that were downloaded or unpacked."""
    zoo_url: str | None = None
    """Address to download models of the zoo from. Unset: where they are published."""
    host: str = "0.0.0.0"  # noqa: S104 (a container's server is reached from outside it)
    """Address to listen on."""
    port: Annotated[int, Variables("MASKRCNN_PORT", "SAGEMAKER_BIND_TO_PORT", "AIP_HTTP_PORT")] = (
        Field(8080, ge=0, le=65535)
    )
    """Port to listen on. 0: a free one, which the server prints."""
    api_key: Annotated[SecretStr | None, BeforeValidator(printable)] = None
    """Key that every request needs, except `/ping`, as `Authorization: Bearer KEY`. Commands and
    the client send it. Unset: no key is needed."""
    cors_origins: Listed | None = None
    """Origins whose pages may ask this server, such as `https://a.example`, with commas between
    them. `*`: all may, but none may load or unload models. Unset: none may."""
    allowed_hosts: Listed | None = None
    """Host names by which browsers may load and unload models, with commas between them, besides
    addresses, `localhost` and the name of the machine."""
    playground: bool | None = None
    """Whether `/` is the playground. Unset: yes, but not on SageMaker."""
    timeout_s: Annotated[float, Variables("MASKRCNN_TIMEOUT", "MODEL_SERVER_TIMEOUT")] = Field(
        60, gt=0, le=86400
    )
    """Seconds, up to 86400, that a request may wait before it gets 504."""
    drain_timeout_s: int = Field(20, ge=0)
    """Seconds that requests have to finish, once the server accepts no more."""
    shutdown_delay_s: float = Field(0.5, ge=0, le=600)
    """Seconds, up to 600, in which the server still accepts connections after SIGTERM, while
    `/ping` is 503. The drain timeout begins after them."""
    max_payload_mb: Annotated[
        float,
        Variables("MASKRCNN_MAX_PAYLOAD_MB", "SAGEMAKER_MAX_PAYLOAD_IN_MB"),
        AfterValidator(lambda value: value or MAX_PAYLOAD_MB),
    ] = Field(20, ge=0, le=MAX_PAYLOAD_MB)
    """Largest request body in MiB, up to 1024, which 0 stands for. A larger one gets 413."""
    max_bodies_mb: Number = 256
    """Size in MiB of the bodies of all requests in memory together, and of the replies that clients
    do not read. More get 503. At least `MASKRCNN_MAX_PAYLOAD_MB`."""
    max_connections: Number = 1000
    """Number of open connections. For one more, the one that has been idle for longest is closed;
    if none is idle, the new one gets 503, `/ping` excepted."""
    keep_alive_s: Seconds = 75
    """Seconds that a connection stays open between requests."""
    headers_timeout_s: Seconds = 20
    """Seconds in which a request's headers must arrive. If not, it gets 408."""
    body_timeout_s: Seconds = 60
    """Seconds in which a request's body must arrive. If not, it gets 408."""
    write_timeout_s: Seconds = 60
    """Seconds in which a client must read its reply. If not, its connection is closed."""
    local_s3: Path | None = None
    """Folder that plays S3 for asynchronous invocations of this server, with its buckets as folders
    (maskrcnn-sagemaker). Unset: there are none. For tests: no passwords."""
    error_entries: bool = False
    """Whether a request that cannot be answered, such as a broken image, gets 200 with its error as
    the body. For batch transform, whose job fails with one error."""
    max_image_pixels: int = Field(50_000_000, gt=0)
    """Largest image in pixels. A larger one is refused before it is decoded."""
    log_level: Annotated[
        Literal["debug", "info", "warning", "error"], BeforeValidator(str.lower)
    ] = "info"
    """How much to log: `debug`, `info`, `warning` or `error`."""
    log_format: Annotated[Literal["text", "json"], BeforeValidator(str.lower)] = "text"
    """`text`, or `json`: one object on each line."""
    otel_endpoint: Annotated[
        str | None, Variables("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
    ] = None
    """Address of an OpenTelemetry collector, for spans by OTLP over HTTP (extra `[opentelemetry]`).
    Unset: no spans."""


S = TypeVar("S", bound=BaseModel)


def read(
    *,
    config: Mapping[str, str] = MappingProxyType({}),
    options: Mapping[str, str] = MappingProxyType({}),
    **given: object,
) -> Settings:
    """Settings from the environment, with those `given` by name on top (None: not given).

    Empty variables count as unset. Raises InvalidSetting, naming the first bad variable and its
    rule.
    """
    names = variable_names()
    _refuse_unknown({name for each in names.values() for name in each})
    found: dict[str, tuple[str, object]] = {}
    for setting, variables in names.items():
        values = {name: os.environ[name] for name in variables if os.environ.get(name)}
        if given.get(setting) is not None:
            found[setting] = variables[0], given[setting]
        elif values:
            found[setting] = next(iter(values.items()))
    model = _validated(ModelSettings, found, config={**overrides(), **config}, options=options)
    return _validated(Settings, found, model=model)


def settings_by_name() -> dict[str, FieldInfo]:
    """Every setting that has environment variables, by its name in `read`."""
    own = {name: info for name, info in Settings.model_fields.items() if name != "model"}
    every = {info.alias or name: info for name, info in ModelSettings.model_fields.items()} | own
    return {name: info for name, info in every.items() if _variables(name, info)}


def variable_names() -> dict[str, tuple[str, ...]]:
    """The environment variables of each setting, the documented one first."""
    return {name: _variables(name, info) for name, info in settings_by_name().items()}


def _variables(name: str, info: FieldInfo) -> tuple[str, ...]:
    said = next((each.names for each in info.metadata if isinstance(each, Variables)), None)
    own = f"{OWN_PREFIX}{name.removesuffix('_s').upper()}"
    return (own,) if said is None else said


def _validated(schema: type[S], found: Mapping[str, tuple[str, object]], **others: object) -> S:
    known = {info.alias or name for name, info in schema.model_fields.items()} - others.keys()
    values = {name: value for name, (_, value) in found.items() if name in known}
    try:
        return schema.model_validate({**values, **others})
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        variable, value = found[str(first["loc"][0])]
        shown = "***" if variable == API_KEY else value
        rule = first["msg"]
        if first["type"] == "string_pattern_mismatch":
            rule = " ".join(str(settings_by_name()[str(first["loc"][0])].description).split())
        raise InvalidSetting(f"{variable}={shown}: {rule}") from None


def overrides() -> dict[str, str]:
    """The framework's configuration from `CONFIG__A__B` variables: dotted key to literal."""
    return {
        name.removeprefix(OVERRIDE_PREFIX).replace("__", "."): value
        for name, value in os.environ.items()
        if name.startswith(OVERRIDE_PREFIX)
    }


def backend_options(backend: str) -> dict[str, str]:
    """The options of a backend, from variables that begin with its name: `NAME_OPTION=value`."""
    prefix = backend.upper() + "_"
    return {
        OPTIONS.get(name, name).removeprefix(prefix).lower(): value
        for name, value in os.environ.items()
        if OPTIONS.get(name, name).startswith(prefix) and value
    }


def model_config(settings: ModelSettings, folder: Path, backend: str) -> ModelConfig:
    """Configuration of the model in a folder for one backend, from settings and environment."""
    return ModelConfig(
        model_dir=folder,
        resnet_arch=settings.resnet_arch,
        overrides=settings.config,
        options={**backend_options(backend), **settings.options},
        score_threshold=settings.score_threshold,
        engine=settings.engine,
        device=settings.device.partition(",")[0],
        precision=settings.precision,
        threads=settings.threads,
        streams=settings.streams,
    )


def expects_gpu() -> bool:
    """Whether the container's image or its host says that there is an NVIDIA GPU."""
    return os.environ.get("NVIDIA_VISIBLE_DEVICES", "") not in ("", "none", "void")


def visible_gpus() -> int:
    """Number of NVIDIA GPUs that programs may find: the machine's, or fewer if somebody says so."""
    there, visible = gpus(), os.environ.get("CUDA_VISIBLE_DEVICES")
    return there if visible is None else min(there, len(visible.split(",")))


def has_playground(settings: Settings) -> bool:
    """Whether `/` is the playground. On SageMaker, which sets variables of its own, it is not,
    unless somebody says so."""
    if settings.playground is not None:
        return settings.playground
    return not any(value and name.startswith("SAGEMAKER_") for name, value in os.environ.items())


def inherited() -> dict[str, str]:
    """The environment as it is, for another process."""
    return dict(os.environ)


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


def api_key() -> str:
    """The key that commands send to a server. Empty: none."""
    return os.environ.get(API_KEY, "")


def _refuse_unknown(known: set[str]) -> None:
    for name in os.environ:
        if name.startswith(OWN_PREFIX) and name not in known:
            nearest = difflib.get_close_matches(name, known, n=1, cutoff=0)[0]
            raise InvalidSetting(f"{name}: no such setting; the nearest is {nearest}")

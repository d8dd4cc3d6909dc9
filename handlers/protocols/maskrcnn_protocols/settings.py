"""The settings of this distribution, from variables that begin with `PROTOCOLS_`."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Annotated, Literal, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from maskrcnn_server import settings as environment
from maskrcnn_server.errors import InvalidSetting

S = TypeVar("S", bound=BaseModel)
PREFIX = "PROTOCOLS"


def _listed(text: object) -> object:
    if not isinstance(text, str):
        return text
    return tuple(part.strip() for part in text.split(",") if part.strip())


Listed = Annotated[tuple[str, ...], BeforeValidator(_listed)]
RoutePath = Annotated[str, Field(pattern=r"^/[A-Za-z0-9_.:/-]*$", max_length=256)]


class ProtocolSettings(BaseModel):
    """What an operator chooses about protocols."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    model_name: str | None = Field(
        None,
        min_length=1,
        max_length=256,
        description="Name by which other protocols know the only model. Unset: its own.",
    )
    grpc_port: int | None = Field(
        None,
        ge=0,
        le=65535,
        description="Port of the Open Inference Protocol over gRPC. 0: a free one. Unset: none.",
    )
    image_addresses: Listed = Field(
        (),
        description="Addresses that images may be fetched from, with commas between them: each "
        "begins with one of these, such as `https://images.example/street/` or `s3://bucket/`. "
        "Unset: none, and `img_url` is off.",
    )
    private_addresses: bool = Field(
        False,
        description="Whether the names in image addresses may lead to private networks and to this "
        "machine.",
    )
    fetch_timeout_s: float = Field(
        10,
        gt=0,
        le=300,
        description="Seconds in which an image must arrive from its address.",
    )
    health_routes: Annotated[tuple[RoutePath, ...], BeforeValidator(_listed)] = Field(
        (),
        description="Paths that answer as `/ping`, with commas between them, such as `/health`. "
        "Vertex AI says one by `AIP_HEALTH_ROUTE`.",
    )
    predict_route: RoutePath | None = Field(
        None,
        description="Path that answers inference requests besides `/invocations`, such as `/score`."
        " Vertex AI says one by `AIP_PREDICT_ROUTE`.",
    )
    predict_as: Literal[
        "invocations", "instances", "huggingface-detection", "huggingface-segmentation"
    ] = Field(
        "invocations",
        description="Requests that the predict route reads: `invocations`, this server's own; "
        "`instances`, of TensorFlow Serving and Vertex AI; `huggingface-detection` or "
        "`huggingface-segmentation`.",
    )


class Vertex(BaseModel):
    """The variables of Vertex AI; those that this server has no use for are passed over."""

    health_route: RoutePath | None = None
    predict_route: RoutePath | None = None


def vertex() -> Vertex:
    """What Vertex AI says in the environment. Raises InvalidSetting."""
    return _validated(Vertex, "AIP", environment.backend_options("AIP"))


def read() -> ProtocolSettings:
    """The settings in the environment.

    Raises InvalidSetting, naming the variable and its rule.
    """
    given = environment.backend_options(PREFIX)
    for name in given.keys() - ProtocolSettings.model_fields.keys():
        nearest = difflib.get_close_matches(name, ProtocolSettings.model_fields, n=1, cutoff=0)[0]
        raise InvalidSetting(
            f"{variable(name)}: no such setting; the nearest is {variable(nearest)}"
        )
    return _validated(ProtocolSettings, PREFIX, given)


def variable(name: str) -> str:
    """The environment variable of a setting."""
    return f"{PREFIX}_{name.upper()}"


def _validated(schema: type[S], prefix: str, given: Mapping[str, str]) -> S:
    try:
        return schema.model_validate(given)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        name = str(first["loc"][0])
        shown = f"{prefix}_{name.upper()}"
        raise InvalidSetting(f"{shown}={given[name]}: {first['msg']}") from None

"""The AWS Samples backend."""

from dataclasses import replace
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from maskrcnn_aws_samples.config import AwsSamplesConfig
from maskrcnn_aws_samples.original import ORIGINAL
from maskrcnn_aws_samples.rules import rules
from maskrcnn_network.checkpoints.rows import RowOrder
from maskrcnn_network.dialect import Dialect
from maskrcnn_network.folder import ModelFolder, read_folder
from maskrcnn_server.backend import ModelConfig
from maskrcnn_server.errors import InvalidSetting
from maskrcnn_server.keys import OF_IMAGES

SCORE_THRESHOLD = 0.8
"""Default score threshold, as in the old container, which first rounded scores to one digit."""

ROWS: dict[str, RowOrder] = {"tf2": "channel last", "tf1": "channel first"}


class Options(BaseModel):
    """Options of this backend, set by `AWS_SAMPLES_<OPTION>`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    variant: Literal["tf2", "tf1"] = "tf2"
    """Branch that trained the model; `tf1`: `tf1.15-with-custom-ops`, which computes in NCHW."""
    resize: bool = True
    """Whether images are resized; the old container did not."""
    maskrcnn: Path | None = None
    """Checkout of the framework for the engine `original`; also set by `AWS_MASKRCNN`."""


class AwsSamplesBackend(Dialect[AwsSamplesConfig]):
    """Loads checkpoints of AWS Samples' mask-rcnn-tensorflow."""

    def __init__(self) -> None:
        super().__init__(
            name="aws_samples",
            score_threshold=SCORE_THRESHOLD,
            read=_read,
            rules=rules,
            keys=AwsSamplesConfig.declared(Options.model_fields),
            original=ORIGINAL,
        )


def _read(config: ModelConfig) -> ModelFolder[AwsSamplesConfig]:
    options = _options(config)
    return read_folder(_configured(config, options), ROWS[options.variant], AwsSamplesConfig)


def _configured(config: ModelConfig, options: Options) -> ModelConfig:
    """`config` with the options that configure the network."""
    if options.resize:
        return config
    overrides = {**config.overrides, "PREPROC.TEST_SHORT_EDGE_SIZE": "null"}
    return replace(config, overrides=overrides)


def _options(config: ModelConfig) -> Options:
    try:
        own = {name: value for name, value in config.options.items() if name not in OF_IMAGES}
        return Options.model_validate(own)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        name = f"AWS_SAMPLES_{str(first['loc'][0]).upper()}"
        raise InvalidSetting(f"{name}={first['input']}: {first['msg']}") from None

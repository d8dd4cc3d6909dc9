"""What predicts: a server at a URL, a SageMaker endpoint, or a model."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

from maskrcnn_server import settings as environment
from maskrcnn_server.errors import InvalidSetting, redacted
from maskrcnn_server.plugins import Plugins
from maskrcnn_server.store.archives import is_archive
from maskrcnn_server.store.model_store import CHECKPOINTS

Kind: TypeAlias = Literal["url", "endpoint", "model"]

ENDPOINT_NAME = re.compile(r"[a-zA-Z0-9](?:-?[a-zA-Z0-9])*")
"""Names that SageMaker allows for endpoints."""


@dataclass(frozen=True)
class Target:
    """What predicts."""

    kind: Kind
    where: str

    def __str__(self) -> str:
        return f"{self.kind} {redacted(self.where)}"


def named(url: str | None, endpoint: str | None, model: str | None) -> Target:
    """What the options name; without any, the model of the settings. Raises InvalidSetting."""
    given: dict[Kind, str | None] = {"url": url, "endpoint": endpoint, "model": model}
    targets = [Target(kind, where) for kind, where in given.items() if where is not None]
    if len(targets) > 1:
        raise InvalidSetting("--url, --endpoint and --model: name one of them")
    return targets[0] if targets else Target("model", environment.read().model.address)


def recognised(text: str, plugins: Plugins) -> Target:
    """A target by what its name looks like. Raises InvalidSetting if that is nothing."""
    is_file = is_archive(text) or text.endswith(CHECKPOINTS)
    if text.startswith(("http://", "https://")) and not is_file:
        return Target("url", text)
    if "://" in text or is_file or Path(text).exists() or text in plugins.zoo():
        return Target("model", text)
    if ENDPOINT_NAME.fullmatch(text):
        return Target("endpoint", text)
    raise InvalidSetting(
        f"{text}: neither the URL of a server nor a model, nor the name of an endpoint"
    )

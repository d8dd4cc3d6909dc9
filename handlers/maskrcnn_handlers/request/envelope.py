"""A request as a front end receives it, and the interface of what reads it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from maskrcnn_server.errors import RequestError

if TYPE_CHECKING:
    from maskrcnn_handlers.request.requests import InferenceRequest
    from maskrcnn_server.formats import Format

ATTRIBUTES = "X-Amzn-SageMaker-Custom-Attributes"
"""Header with the custom attributes: `key=value`, separated by `;`."""
MAX_ATTRIBUTES = 1024
"""Number of characters of custom attributes at most, as in SageMaker."""
TARGET_MODEL = "X-Amzn-SageMaker-Target-Model"
"""Header that names one of several models."""


@dataclass(frozen=True)
class Envelope:
    """The body of a request, and what its headers and its path say about it."""

    body: bytes
    content_type: str
    accept: str
    attributes: Mapping[str, str]
    """Custom attributes by name, `model` excepted."""
    model: str | None
    """Name of the model that is asked for. None: the default one."""

    @classmethod
    def of(
        cls,
        body: bytes,
        content_type: str,
        accept: str = "",
        attributes: str = "",
        model: str | None = None,
    ) -> Envelope:
        """The envelope of a request with these headers.

        `model` is named by the path or a header; without it, the attribute `model` counts.
        Raises RequestError if the attributes are too long.
        """
        if len(attributes) > MAX_ATTRIBUTES:
            raise RequestError(f"custom attributes have more than {MAX_ATTRIBUTES} characters")
        pairs: dict[str, str] = {}
        for part in attributes.split(";") if attributes else ():
            if part.strip():
                key, _, value = part.partition("=")
                pairs[key.strip()] = value.strip()
        named = pairs.pop("model", None)
        return cls(body, content_type, accept, pairs, model or named or None)


class Codec(Protocol):
    """A plugin's wire format: how a request is read, and what is found in its images written."""

    @property
    def format(self) -> Format:
        """The format of the reply, whatever `Accept` and the options say."""

    def parse(self, envelope: Envelope, /) -> InferenceRequest:
        """The request in an envelope. Raises RequestError."""

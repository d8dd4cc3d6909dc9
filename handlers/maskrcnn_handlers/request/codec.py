"""Interface of wire formats that plugins bring, such as another server's protocol."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from maskrcnn_handlers.request.envelope import Envelope
    from maskrcnn_handlers.request.requests import InferenceRequest
    from maskrcnn_server.formats import Format


class Codec(Protocol):
    """How one request is read, and how what is found in its images is written."""

    @property
    def format(self) -> Format:
        """The format of the reply, whatever `Accept` and the options say."""

    def parse(self, envelope: Envelope, /) -> InferenceRequest:
        """The request in an envelope. Raises RequestError."""

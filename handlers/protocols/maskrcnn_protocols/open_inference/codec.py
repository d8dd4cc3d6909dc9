"""The codec of a REST request."""

from __future__ import annotations

from typing import TYPE_CHECKING

from maskrcnn_protocols.collected import Collected
from maskrcnn_protocols.open_inference.compression import decompressed
from maskrcnn_protocols.open_inference.inference import Asked
from maskrcnn_protocols.open_inference.rest_body import HEADER_LENGTH, RestRequest

if TYPE_CHECKING:
    from starlette.datastructures import Headers

    from maskrcnn_handlers.request.envelope import Envelope
    from maskrcnn_handlers.request.requests import InferenceRequest


class RestCodec:
    """Reads one request of the REST transport, and keeps what the reply needs."""

    def __init__(self, headers: Headers, max_bytes: int) -> None:
        self._headers = headers
        self._max_bytes = max_bytes
        self.format = Collected()
        self.request: RestRequest | None = None
        """The request, once it is parsed."""

    def parse(self, envelope: Envelope, /) -> InferenceRequest:
        encoding = self._headers.get("content-encoding", "")
        body = decompressed(envelope.body, encoding, self._max_bytes)
        self.request = RestRequest(body, self._headers.get(HEADER_LENGTH))
        return self.request.asked.inference_request()


class GrpcCodec:
    """Answers a request whose tensors are read already."""

    def __init__(self, asked: Asked) -> None:
        self._asked = asked
        self.format = Collected()

    def parse(self, _: Envelope, /) -> InferenceRequest:
        return self._asked.inference_request()

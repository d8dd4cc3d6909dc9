"""One inference: from the tensors of a request to images, and from detections to tensors."""

from __future__ import annotations

import base64
import binascii
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from maskrcnn_handlers.request.requests import MAX_IMAGES, Encoded, InferenceRequest
from maskrcnn_protocols.collected import Collected
from maskrcnn_protocols.open_inference import outputs
from maskrcnn_protocols.open_inference.tensors import BYTES, Tensor
from maskrcnn_protocols.options import options
from maskrcnn_server.errors import RequestError

if TYPE_CHECKING:
    from maskrcnn_server.options import Options

IMAGE = "image"
"""Name of the input."""
BASE64 = "base64"
"""Value of the parameter `content_type` of encoded elements, as MLServer has it."""


@dataclass(frozen=True, kw_only=True)
class Asked:
    """An inference request, of either transport."""

    inputs: Sequence[Tensor]
    outputs: Sequence[str] = ()
    """Names of the outputs. Empty: the default ones."""
    parameters: Mapping[str, object] = field(default_factory=dict)
    id: str = ""

    def inference_request(self) -> InferenceRequest:
        """The images and options. Raises RequestError."""
        for name in self.outputs:
            outputs.check(name)
        asked = options(self.parameters)
        if len(self.inputs) != 1 or self.inputs[0].name != IMAGE:
            given = ", ".join(one.name[:80] for one in self.inputs[:8]) or "none"
            raise RequestError(f"inputs: one, called {IMAGE}, is read; got {given}", field="inputs")
        files = _files(self.inputs[0])
        if not 1 <= len(files) <= MAX_IMAGES:
            raise RequestError(
                f"input {IMAGE}: {len(files)} images; 1 to {MAX_IMAGES} are allowed", field=IMAGE
            )
        images = [Encoded(number, file) for number, file in enumerate(files)]
        return InferenceRequest(images, self._needed(asked), "list" if len(files) > 1 else "single")

    def _needed(self, asked: Options) -> Options:
        """The options, without masks if no output shows them."""
        if self.outputs and not any(name.startswith("masks") for name in self.outputs):
            return asked.model_copy(update={"masks": False})
        return asked


def written(asked: Asked, collected: Collected) -> list[Tensor]:
    """The outputs of an answered request. Raises RequestError for one that cannot be given."""
    return outputs.tensors(collected.predictions(), asked.outputs)


def _files(tensor: Tensor) -> list[bytes]:
    """The image files in the input, or its pixels as NumPy's files."""
    if isinstance(tensor.data, np.ndarray):
        if tensor.datatype == "UINT8" and len(tensor.shape) == 4 and tensor.shape[3] == 3:
            return [_npy(pixels) for pixels in tensor.data[: MAX_IMAGES + 1]]
    elif len(tensor.shape) in (1, 2):
        is_base64 = tensor.parameters.get("content_type") == BASE64
        return [_decoded(one) if is_base64 else one for one in tensor.data]
    raise RequestError(
        f"input {IMAGE}: {tensor.datatype} of shape {list(tensor.shape)}; allowed are {BYTES} of "
        "shape [N] or [N,1], image files, and UINT8 of shape [N,height,width,3], RGB",
        field=IMAGE,
    )


def _npy(pixels: NDArray[np.uint8]) -> bytes:
    file = io.BytesIO()
    np.save(file, pixels)
    return file.getvalue()


def _decoded(text: bytes) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise RequestError(f"input {IMAGE}: not base64 ({error})", field=IMAGE) from None

"""Tensors as messages of the gRPC transport."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from maskrcnn_protocols.open_inference.inference import Asked
from maskrcnn_protocols.open_inference.messages import message
from maskrcnn_protocols.open_inference.tensors import BYTES, Tensor, of_elements, of_raw
from maskrcnn_server.errors import RequestError

UINT8_MAX = 255


def asked(request: Any) -> Asked:
    """The inference that a `ModelInferRequest` asks for. Raises RequestError."""
    raw = request.raw_input_contents
    if raw and len(raw) != len(request.inputs):
        raise RequestError(
            f"raw_input_contents: {len(raw)} for {len(request.inputs)} inputs", field="inputs"
        )
    inputs = [
        of_raw(one.name, one.datatype, one.shape, raw[i], _parameters(one.parameters))
        if raw
        else _of_contents(one)
        for i, one in enumerate(request.inputs)
    ]
    return Asked(
        inputs=inputs,
        outputs=[one.name for one in request.outputs],
        parameters=_parameters(request.parameters),
        id=request.id,
    )


def reply(request: Any, tensors: Sequence[Tensor]) -> Any:
    """The `ModelInferResponse` with these outputs, as raw contents."""
    response = message("inference.ModelInferResponse")(
        model_name=request.model_name, model_version="1", id=request.id
    )
    for tensor in tensors:
        response.outputs.add(name=tensor.name, datatype=tensor.datatype, shape=tensor.shape)
        response.raw_output_contents.append(tensor.raw())
    return response


def _of_contents(given: Any) -> Tensor:
    parameters = _parameters(given.parameters)
    if given.datatype == BYTES:
        tensor = of_elements(given.name, given.shape, list(given.contents.bytes_contents))
        return Tensor(tensor.name, BYTES, tensor.shape, tensor.data, parameters)
    values = np.array(given.contents.uint_contents, np.uint32)
    if given.datatype != "UINT8" or values.max(initial=0) > UINT8_MAX:
        raise RequestError(
            f"input {given.name[:80]}: contents of {given.datatype[:20]} are not read",
            field="inputs",
        )
    raw = values.astype(np.uint8).tobytes()
    return of_raw(given.name, given.datatype, given.shape, raw, parameters)


def _parameters(given: Mapping[str, Any]) -> dict[str, object]:
    chosen = {name: one.WhichOneof("parameter_choice") for name, one in given.items()}
    return {name: getattr(given[name], kind) for name, kind in chosen.items() if kind is not None}

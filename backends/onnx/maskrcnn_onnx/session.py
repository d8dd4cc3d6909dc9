"""Sessions: ONNX graphs computed by OpenVINO."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeAlias

from numpy.typing import NDArray

from maskrcnn_onnx.operators import with_mmcv
from maskrcnn_openvino.runtime import openvino
from maskrcnn_openvino.session import settings
from maskrcnn_server.errors import InvalidModel

Feed: TypeAlias = Mapping[str, NDArray[Any]]
"""Inputs by name."""


class Session(Protocol):
    """A graph, ready to run."""

    def run(self, outputs: Sequence[str], feed: Feed) -> list[NDArray[Any]]:
        """Compute the outputs with these names."""


class OpenVino:
    """A graph compiled for this CPU. One thread may use it at a time.

    Raises InvalidModel with OpenVINO's message if OpenVINO cannot load the model.
    """

    def __init__(self, model: Path | bytes, threads: int) -> None:
        core = with_mmcv(openvino.Core())
        try:
            graph = core.read_model(model)
            compiled = core.compile_model(graph, "CPU", settings(threads))
        except RuntimeError as error:
            said = " ".join(str(error).split())
            raise InvalidModel(f"OpenVINO cannot load the model: {said}") from error
        self._request = compiled.create_infer_request()
        # Outputs that are the same share one place with several names.
        self._places = {name: i for i, end in enumerate(graph.outputs) for name in end.get_names()}

    def run(self, outputs: Sequence[str], feed: Feed) -> list[NDArray[Any]]:
        self._request.infer(dict(feed))
        return [self._request.get_output_tensor(self._places[n]).data.copy() for n in outputs]

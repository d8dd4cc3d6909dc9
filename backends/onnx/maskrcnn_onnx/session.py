"""What computes a graph: ONNX Runtime, or OpenVINO."""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeAlias

import onnxruntime as ort
from numpy.typing import NDArray

from maskrcnn_server.errors import InvalidModel, InvalidSetting

ERRORS = 3
"""The level at which ONNX Runtime logs."""

Feed: TypeAlias = Mapping[str, NDArray[Any]]
"""What goes in, by name."""


class Session(Protocol):
    """A graph, ready to run."""

    def run(self, outputs: Sequence[str], feed: Feed) -> list[NDArray[Any]]:
        """These outputs, by name."""


class OnnxRuntime:
    """A session of ONNX Runtime. Its threads sleep between requests.

    Raises InvalidModel with the runtime's own words if it does not load the model.
    """

    def __init__(self, model: Path | bytes, threads: int) -> None:
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = ERRORS
        # A pattern would be kept for every size of image.
        options.enable_mem_pattern = False
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.add_session_config_entry("session.set_denormal_as_zero", "1")
        given = model if isinstance(model, bytes) else str(model)
        try:
            self._session = ort.InferenceSession(given, options, providers=["CPUExecutionProvider"])
        # The runtime's errors have no common class.
        except Exception as error:
            raise InvalidModel(f"ONNX Runtime does not load the model: {error}") from error

    def run(self, outputs: Sequence[str], feed: Feed) -> list[NDArray[Any]]:
        values: list[NDArray[Any]] = self._session.run(list(outputs), dict(feed))
        return values


class OpenVino:
    """The same in OpenVINO.

    Raises InvalidSetting if it is not installed, InvalidModel if it does not load the model.
    """

    def __init__(self, model: Path, threads: int) -> None:
        # What converts other formats, and is not needed here, writes to the home directory and to
        # its maker as soon as it is imported. OpenVINO does without it if it cannot be.
        sys.modules.setdefault("openvino.tools.ovc", None)  # type: ignore[arg-type]
        try:
            import openvino
        except ImportError:
            raise InvalidSetting(
                "ONNX_RUNTIME=openvino: it is not installed: pip install 'maskrcnn-onnx[openvino]'"
            ) from None
        settings = {
            "INFERENCE_NUM_THREADS": threads,
            # Where a CPU has bfloat16, it would be used unasked.
            "INFERENCE_PRECISION_HINT": "f32",
            "PERFORMANCE_HINT": "LATENCY",
            # Kernels would be kept for every size of image.
            "CPU_RUNTIME_CACHE_CAPACITY": 0,
            # Models in other processes would be pinned to the same cores.
            "ENABLE_CPU_PINNING": False,
        }
        try:
            compiled = openvino.Core().compile_model(model, "CPU", settings)
        except RuntimeError as error:
            raise InvalidModel(f"OpenVINO does not load the model: {error}") from error
        self._request = compiled.create_infer_request()

    def run(self, outputs: Sequence[str], feed: Feed) -> list[NDArray[Any]]:
        self._request.infer(dict(feed))
        return [self._request.get_tensor(name).data.copy() for name in outputs]


RUNTIMES: dict[str, Any] = {"onnxruntime": OnnxRuntime, "openvino": OpenVino}

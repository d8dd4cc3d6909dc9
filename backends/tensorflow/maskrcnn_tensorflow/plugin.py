"""Additions of this distribution to the server."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from maskrcnn_network.instructions import lacks_instructions
from maskrcnn_server import hookimpl
from maskrcnn_server.backend import ModelMetadata, Precision
from maskrcnn_server.engine import Engine, Setup
from maskrcnn_server.errors import InvalidSetting
from maskrcnn_server.optional import lacks
from maskrcnn_tensorflow.checkpoint import write_checkpoint
from maskrcnn_tensorflow.tf_environment import freeze_weights, quietly, use_threads

if TYPE_CHECKING:
    from maskrcnn_network.checkpoints.writing import Write
    from maskrcnn_network.dialect import WriteNetwork
    from maskrcnn_network.graph.network import Network, Variables
    from maskrcnn_tensorflow.session import TensorFlowSession

api_version = "1.0"

DRIVERS = (Path("/dev/nvidiactl"), Path("/dev/dxg"))
"""Device files of CUDA drivers: of Linux, and of the Windows Subsystem for Linux."""


class TensorFlowEngine:
    """Computes on CPUs and GPUs: in float32, bfloat16 and, on GPUs, float16."""

    name = "tensorflow"

    def lacks(self, device: str, precision: Precision, /) -> str | None:
        if precision not in ("float32", "bfloat16", "float16"):
            return f"does not compute in {precision}: use float32, bfloat16 or float16"
        if lack := lacks("tensorflow", "maskrcnn-tensorflow"):
            return lack
        if device != "cpu":
            return _gpu_lacks(device, precision)
        if precision == "float16":
            return "float16 is slower than float32 on a CPU: use float32 or bfloat16"
        return lacks_instructions(precision)

    def open(
        self, network: "Network", variables: "Variables", setup: Setup, /
    ) -> "TensorFlowSession":
        if lack := self.lacks(setup.device, setup.precision):
            raise InvalidSetting(lack)
        if setup.dedicated:
            freeze_weights()
            use_threads(setup.threads)
        with quietly():
            from maskrcnn_tensorflow.session import TensorFlowSession

        return TensorFlowSession(network, variables, setup)

    def writers(self) -> Mapping[str, "WriteNetwork"]:
        """`saved_model`: a folder that TensorFlow Serving can load without this project."""
        return {"saved_model": _write_saved_model}

    def savers(self) -> Mapping[str, "Write"]:
        """`checkpoint`: TensorFlow's V2 format."""
        return {"checkpoint": write_checkpoint}


def _gpu_lacks(device: str, precision: Precision) -> str | None:
    """Why a GPU cannot be used. Importing TensorFlow takes seconds: not done without a driver."""
    if not any(driver.exists() for driver in DRIVERS):
        return "this machine has no NVIDIA GPU or no driver for it"
    with quietly():
        from maskrcnn_tensorflow.precision import gpu_lacks

    return gpu_lacks(int(device.partition(":")[2] or 0), precision)


def _write_saved_model(
    network: "Network", variables: "Variables", metadata: ModelMetadata, target: Path
) -> None:
    with quietly():
        from maskrcnn_tensorflow.saved_model import write

    write(network, variables, metadata, target)


@hookimpl
def register_engines(register: Callable[[Engine], None]) -> None:
    """The TensorFlow engine."""
    register(TensorFlowEngine())

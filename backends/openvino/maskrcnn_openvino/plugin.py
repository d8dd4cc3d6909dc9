"""Additions of this distribution to the server."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from maskrcnn_server import hookimpl
from maskrcnn_server.backend import ModelMetadata, Precision
from maskrcnn_server.engine import Engine, Setup
from maskrcnn_server.errors import InvalidSetting
from maskrcnn_server.optional import lacks, required

if TYPE_CHECKING:
    from maskrcnn_network.checkpoints.writing import Write
    from maskrcnn_network.dialect import WriteNetwork
    from maskrcnn_network.graph.network import Network, Variables
    from maskrcnn_openvino.session import OpenVinoSession

api_version = "1.0"


class OpenVinoEngine:
    """Computes on CPUs, in float32 and in 8-bit integers."""

    name = "openvino"

    def lacks(self, device: str, precision: Precision, /) -> str | None:
        if device != "cpu":
            return "computes on CPUs only"
        if precision == "bfloat16":
            return "bfloat16 would move boxes by pixels; use float32 or int8"
        if precision not in ("float32", "int8"):
            return f"does not compute in {precision} on a CPU; use float32 or int8"
        return lacks("openvino", "maskrcnn-openvino")

    def open(
        self, network: "Network", variables: "Variables", setup: Setup, /
    ) -> "OpenVinoSession":
        if lack := self.lacks(setup.device, setup.precision):
            raise InvalidSetting(lack)
        from maskrcnn_openvino.session import OpenVinoSession

        return OpenVinoSession(network, variables, setup)

    def writers(self) -> Mapping[str, "WriteNetwork"]:
        """`onnx`: one self-describing file for the backend of that name."""
        return {"onnx": _write_onnx}

    def savers(self) -> Mapping[str, "Write"]:
        return {}


def _write_onnx(
    network: "Network", variables: "Variables", metadata: ModelMetadata, target: Path
) -> None:
    required("onnx", "maskrcnn-openvino[onnx]")
    from maskrcnn_openvino.onnx_file import write

    write(network, variables, metadata, target)


@hookimpl
def register_engines(register: Callable[[Engine], None]) -> None:
    """The OpenVINO engine."""
    register(OpenVinoEngine())

"""Additions of this distribution to the server."""

import ctypes
import re
from collections.abc import Callable
from typing import TYPE_CHECKING

from maskrcnn_network.instructions import lacks_instructions
from maskrcnn_server import hookimpl
from maskrcnn_server.backend import Precision
from maskrcnn_server.engine import Engine, Setup
from maskrcnn_server.errors import InvalidSetting
from maskrcnn_server.optional import lacks

if TYPE_CHECKING:
    from maskrcnn_network.graph.network import Network, Variables
    from maskrcnn_torch.session import TorchSession

api_version = "1.0"

DRIVER = "libcuda.so.1"
PRECISIONS = ("float32", "tf32", "float16", "bfloat16")
AMPERE = (8, 0)
"""Minimum compute capability of GPUs with TF32 and bfloat16."""


class TorchEngine:
    """Computes on NVIDIA GPUs, and on CPUs."""

    name = "torch"

    def lacks(self, device: str, precision: Precision, /) -> str | None:
        if precision not in PRECISIONS:
            return f"does not compute in {precision}: use {', '.join(PRECISIONS)}"
        kind, _, index = device.partition(":")
        if kind == "cpu" and precision in ("tf32", "float16"):
            return f"does not compute in {precision} on a CPU: use float32 or bfloat16"
        if not re.fullmatch(r"cpu|cuda(:\d{1,3})?", device):
            return f"knows no device {device!r}: use cpu, cuda or cuda:N"
        if lack := lacks("torch", "maskrcnn-torch"):
            return lack
        if kind == "cpu":
            return lacks_instructions(precision)
        return _gpu_lacks(int(index or 0), precision)

    def open(self, network: "Network", variables: "Variables", setup: Setup, /) -> "TorchSession":
        lack = self.lacks(setup.device, setup.precision)
        if lack is not None:
            raise InvalidSetting(f"engine torch on {setup.device}: {lack}")
        from maskrcnn_torch.session import TorchSession

        return TorchSession(network, variables, setup)


def _gpu_lacks(index: int, precision: Precision) -> str | None:
    try:
        ctypes.CDLL(DRIVER)  # before importing torch, which takes seconds
    except OSError:
        return f"there is no NVIDIA driver ({DRIVER}): install it, or use a CPU"
    import torch

    from maskrcnn_torch.devices import usable_cuda

    problem = usable_cuda(index)
    if problem is not None:
        return problem
    capability = torch.cuda.get_device_capability(index)
    if precision in ("tf32", "bfloat16") and capability < AMPERE:
        return (
            f"GPU {index} has compute capability {capability[0]}.{capability[1]}, but "
            f"{precision} needs 8.0: use float32 or float16"
        )
    return None


@hookimpl
def register_engines(register: Callable[[Engine], None]) -> None:
    """The PyTorch engine."""
    register(TorchEngine())

"""The device that computes."""

import platform
import re
import warnings
from pathlib import Path

import torch

DRIVER = Path("/proc/driver/nvidia/version")
"""Where NVIDIA's driver for Linux says its version."""


def pick(device: str) -> torch.device:
    """The device called `auto` (CUDA if usable), `cpu`, `cuda` or `cuda:N`.

    Raises ValueError for other names and for a device that cannot be used.
    """
    match = re.fullmatch(r"auto|cpu|cuda(?::(\d+))?", device)
    if match is None:
        raise ValueError(f"device {device!r} is unknown; use auto, cpu, cuda or cuda:N")
    if device == "cpu":
        return torch.device("cpu")
    index = int(match[1] or 0)
    problem = usable_cuda(index)
    if problem is None:
        return torch.device("cuda", index)
    if device == "auto":
        return torch.device("cpu")
    raise ValueError(f"device {device!r} cannot be used: {problem}; use cpu or auto")


def usable_cuda(index: int = 0) -> str | None:
    """Why the GPU of this index cannot be used; None: it can. Never raises."""
    if torch.version.cuda is None:
        return f"PyTorch {torch.__version__} is built without CUDA"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch.cuda.current_device()
            count = torch.cuda.device_count()
            if index >= count:
                return f"there is no GPU {index}, only {count}, counted from 0"
            major, minor = torch.cuda.get_device_capability(index)
    except Exception as error:  # whatever a broken installation raises is the answer
        return str(error).partition("\n")[0] or repr(error)
    compiled = torch.cuda.get_arch_list()
    if any(_runs_on(target, major * 10 + minor) for target in compiled):
        return None
    return (
        f"GPU {index} has compute capability {major}.{minor}, and PyTorch {torch.__version__} is "
        f"built for {', '.join(compiled)}"
    )


def description(device: torch.device) -> dict[str, str]:
    """The device's and its software's names and versions, for people to read."""
    versions = {"torch": str(torch.__version__)}
    if device.type != "cuda":
        return {"name": platform.processor() or platform.machine(), **versions}
    properties = torch.cuda.get_device_properties(device)
    return {
        "name": properties.name,
        "compute_capability": f"{properties.major}.{properties.minor}",
        "memory": f"{properties.total_memory / 2**30:.1f} GiB",
        "driver": _driver_version(),
        "cuda": str(torch.version.cuda),
        **versions,
    }


def _driver_version() -> str:
    try:
        found = re.search(r"\b\d+(\.\d+)+\b", DRIVER.read_text())
    except OSError:
        found = None
    return found[0] if found else "unknown"


def _runs_on(target: str, capability: int) -> bool:
    """Whether code compiled for `target`, like sm_86, runs on a GPU of this capability, like 89.

    Machine code (sm) runs on later GPUs of its generation, intermediate code (compute) on all later
    ones; code with the suffix a on that one capability, and f on its generation.
    Source: CUDA programming guide, compute capabilities.
    """
    match = re.fullmatch(r"(sm|compute)_(\d+)([af]?)", target)
    if match is None:
        return False
    kind, least, suffix = match[1], int(match[2]), match[3]
    if suffix == "a":
        return capability == least
    same_generation = capability // 10 == least // 10
    return capability >= least and (same_generation or (kind == "compute" and not suffix))

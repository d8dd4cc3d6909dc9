"""GPUs: whether they can be used, what they are, and how they fail."""

import re
import warnings
from pathlib import Path

import torch

DRIVER = Path("/proc/driver/nvidia/version")
"""File with the version of NVIDIA's driver for Linux."""


def usable_cuda(index: int = 0) -> str | None:
    """Why the GPU of this index cannot be used. None: it can. Never raises."""
    if torch.version.cuda is None:
        return f"PyTorch {torch.__version__} is built without CUDA"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch.cuda.current_device()
            count = torch.cuda.device_count()
            if index >= count:
                return f"there is no GPU {index}: PyTorch finds {count}, counted from 0"
            major, minor = torch.cuda.get_device_capability(index)
    except Exception as error:  # a broken installation may raise anything
        return str(error).partition("\n")[0] or repr(error)
    compiled = torch.cuda.get_arch_list()
    if any(_runs_on(target, major * 10 + minor) for target in compiled):
        return None
    return (
        f"GPU {index} has compute capability {major}.{minor}, but PyTorch {torch.__version__} is "
        f"built for {', '.join(compiled)}: install another build"
    )


def description(device: torch.device) -> dict[str, str]:
    """Facts about the library and the GPU."""
    library = f"PyTorch {torch.__version__.partition('+')[0]}"
    if device.type != "cuda":
        return {"library": library}
    properties = torch.cuda.get_device_properties(device)
    return {
        "library": f"{library}, CUDA {torch.version.cuda}",
        "GPU": properties.name,
        "GPU memory": f"{properties.total_memory / 2**30:.1f} GiB",
        "compute capability": f"{properties.major}.{properties.minor}",
        "driver": _driver_version(),
    }


def is_out_of_memory(error: RuntimeError) -> bool:
    """Whether a call failed for lack of GPU memory; another may succeed."""
    text = str(error)
    return isinstance(error, torch.OutOfMemoryError) or any(
        words in text for words in ("CUDA error: out of memory", "STATUS_ALLOC_FAILED")
    )


def is_lost(error: RuntimeError) -> bool:
    """Whether a call failed in a way that makes the GPU unusable for this process."""
    failed = isinstance(error, torch.AcceleratorError) or re.search(
        r"CUDA error|Triton Error \[CUDA\]", str(error)
    )
    return bool(failed) and not is_out_of_memory(error)


def _driver_version() -> str:
    try:
        found = re.search(r"\b\d+(\.\d+)+\b", DRIVER.read_text())
    except OSError:
        found = None
    return found[0] if found else "unknown"


def _runs_on(target: str, capability: int) -> bool:
    """Whether code compiled for `target`, like sm_86, runs on a GPU of this capability, like 89.

    Machine code (sm) runs on later GPUs of its generation, intermediate code (compute) on all later
    ones; code with the suffix a only on its capability, with f on its generation.
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

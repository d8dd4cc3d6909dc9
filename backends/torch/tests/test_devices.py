"""The choice of a device, with GPUs that are not there."""

import re
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from maskrcnn_torch import devices
from maskrcnn_torch.devices import description, is_lost, is_out_of_memory, usable_cuda


@pytest.fixture
def two_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    """An L4 and something newer than this PyTorch."""
    capabilities = [(8, 9), (13, 0)]
    monkeypatch.setattr(torch.version, "cuda", "12.8")
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: len(capabilities))
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda index: capabilities[index])
    monkeypatch.setattr(torch.cuda, "get_arch_list", lambda: ["sm_75", "sm_86", "sm_90a"])
    monkeypatch.setattr(
        torch.cuda,
        "get_device_properties",
        lambda _: SimpleNamespace(name="NVIDIA L4", major=8, minor=9, total_memory=23 << 30),
    )


@pytest.mark.usefixtures("two_gpus")
@pytest.mark.parametrize(
    ("index", "problem"),
    [
        (0, None),
        (1, "GPU 1 has compute capability 13.0, but .* is built for sm_75, sm_86, sm_90a.*"),
        (2, "there is no GPU 2: PyTorch finds 2, counted from 0"),
    ],
)
def test_gpus_that_cannot_be_used_have_a_reason(index: int, problem: str | None) -> None:
    found = usable_cuda(index)
    assert (found is None) == (problem is None)
    assert re.fullmatch(problem or "None", str(found))


def test_without_cuda_there_is_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.version, "cuda", None)
    assert "is built without CUDA" in str(usable_cuda())


@pytest.mark.parametrize(
    ("error", "out_of_memory", "lost"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"), True, False),
        (RuntimeError("CUDA error: out of memory"), True, False),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling"), True, False),
        (torch.AcceleratorError("CUDA error: an illegal memory access"), False, True),
        (RuntimeError("Triton Error [CUDA]: unspecified launch failure"), False, True),
        (RuntimeError("shapes do not match"), False, False),
    ],
    ids=str,
)
def test_errors_say_what_became_of_the_gpu(
    error: RuntimeError, out_of_memory: bool, lost: bool
) -> None:
    assert (is_out_of_memory(error), is_lost(error)) == (out_of_memory, lost)


@pytest.mark.usefixtures("two_gpus")
@pytest.mark.parametrize("error", [RuntimeError, AssertionError, OSError])
def test_what_fails_is_the_reason(monkeypatch: pytest.MonkeyPatch, error: type[Exception]) -> None:
    def fail() -> None:
        raise error("The driver is too old.\nMore about it")

    monkeypatch.setattr(torch.cuda, "current_device", fail)
    assert usable_cuda() == "The driver is too old."


@pytest.mark.parametrize(
    ("target", "capability", "runs"),
    [
        ("sm_75", 75, True),
        ("sm_86", 89, True),
        ("sm_90", 89, False),
        ("sm_80", 90, False),
        ("compute_80", 90, True),
        ("compute_90", 89, False),
        ("sm_90a", 90, True),
        ("compute_90a", 100, False),
        ("sm_100f", 103, True),
        ("gfx90a", 90, False),
    ],
)
def test_code_runs_on_later_gpus(target: str, capability: int, runs: bool) -> None:
    assert devices._runs_on(target, capability) == runs


@pytest.mark.usefixtures("two_gpus")
@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.104.05  Sat Aug", "535.104.05"),
        ("NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.65.06  Rel", "580.65.06"),
        (None, "unknown"),
    ],
)
def test_a_gpu_is_described(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, text: str | None, version: str
) -> None:
    monkeypatch.setattr(devices, "DRIVER", tmp_path / "version")
    if text is not None:
        (tmp_path / "version").write_text(text)
    assert description(torch.device("cuda", 0)) == {
        "library": f"PyTorch {torch.__version__.partition('+')[0]}, CUDA 12.8",
        "GPU": "NVIDIA L4",
        "GPU memory": "23.0 GiB",
        "compute capability": "8.9",
        "driver": version,
    }


def test_a_cpu_needs_no_description() -> None:
    assert set(description(torch.device("cpu"))) == {"library"}

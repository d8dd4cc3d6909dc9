"""The choice of a device, with GPUs that are not there."""

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from maskrcnn_torch import devices
from maskrcnn_torch.devices import description, pick, usable_cuda


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
def test_a_gpu_is_picked_where_it_can_be_used() -> None:
    assert pick("auto") == pick("cuda") == pick("cuda:0") == torch.device("cuda", 0)
    assert pick("cpu") == torch.device("cpu")


@pytest.mark.usefixtures("two_gpus")
@pytest.mark.parametrize(
    ("device", "message"),
    [
        ("cuda:1", "GPU 1 has compute capability 13.0, and .* is built for sm_75, sm_86, sm_90a"),
        ("cuda:2", "there is no GPU 2, only 2, counted from 0; use cpu or auto"),
        ("gpu", "device 'gpu' is unknown; use auto, cpu, cuda or cuda:N"),
        ("cuda:-1", "unknown"),
        ("", "unknown"),
    ],
)
def test_other_devices_are_refused(device: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        pick(device)


def test_without_cuda_auto_is_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.version, "cuda", None)
    assert pick("auto") == torch.device("cpu")
    with pytest.raises(ValueError, match=r"device 'cuda' cannot be used: .* built without CUDA"):
        pick("cuda")


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
        "name": "NVIDIA L4",
        "compute_capability": "8.9",
        "memory": "23.0 GiB",
        "driver": version,
        "cuda": "12.8",
        "torch": torch.__version__,
    }


def test_a_cpu_is_described() -> None:
    assert set(description(torch.device("cpu"))) == {"name", "torch"}

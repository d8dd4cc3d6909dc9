"""What a machine computes in, and what it refuses."""

from pathlib import Path

import pytest
import tensorflow as tf

from maskrcnn_server.errors import InvalidSetting
from maskrcnn_tensorflow import precision


@pytest.fixture
def cpu(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """What Linux says of a CPU that has no GPU beside it."""
    file = tmp_path / "cpuinfo"
    monkeypatch.setattr(precision, "CPUINFO", file)
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda _: [])
    return file


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> dict[str, object]:
    """What TensorFlow says of a GPU."""
    details: dict[str, object] = {}
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda _: ["GPU:0"])
    monkeypatch.setattr(tf.config.experimental, "get_device_details", lambda _: details)
    return details


def test_every_machine_has_float32(cpu: Path) -> None:
    assert not cpu.exists()
    assert precision.dtype("float32") is tf.float32


def test_a_cpu_needs_the_instructions(cpu: Path) -> None:
    cpu.write_text("flags\t\t: fpu avx512f avx512_bf16 amx_bf16\n")
    assert precision.dtype("bfloat16") is tf.bfloat16
    cpu.write_text("flags\t\t: fpu avx512f\n")
    with pytest.raises(InvalidSetting, match=r"MASKRCNN_PRECISION=bfloat16: .*avx512_bf16"):
        precision.dtype("bfloat16")
    cpu.unlink()
    with pytest.raises(InvalidSetting, match="this CPU has no instructions"):
        precision.dtype("bfloat16")


def test_float16_is_for_gpus(cpu: Path) -> None:
    cpu.write_text("flags\t\t: avx512_bf16 avx512_fp16\n")
    with pytest.raises(InvalidSetting, match="there is no GPU"):
        precision.dtype("float16")


def test_a_gpu_needs_the_compute_capability(gpu: dict[str, object]) -> None:
    gpu["compute_capability"] = (7, 5)
    assert precision.dtype("float16") is tf.float16
    with pytest.raises(InvalidSetting, match=r"compute capability is \(7, 5\), not \(8, 0\)"):
        precision.dtype("bfloat16")
    gpu["compute_capability"] = (8, 0)
    assert precision.dtype("bfloat16") is tf.bfloat16

"""What a GPU computes in, as TensorFlow sees it."""

import pytest
import tensorflow as tf

from maskrcnn_tensorflow.precision import gpu_lacks


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> dict[str, object]:
    """What TensorFlow says of the one GPU."""
    details: dict[str, object] = {}
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda _: ["GPU:0"])
    monkeypatch.setattr(tf.config.experimental, "get_device_details", lambda _: details)
    return details


def test_a_gpu_needs_the_compute_capability(gpu: dict[str, object]) -> None:
    gpu["compute_capability"] = (7, 5)
    assert gpu_lacks(0, "float32") is None
    assert gpu_lacks(0, "float16") is None
    lack = gpu_lacks(0, "bfloat16")
    assert lack == "this GPU has compute capability 7.5, but bfloat16 needs 8.0 or more"
    gpu["compute_capability"] = (8, 0)
    assert gpu_lacks(0, "bfloat16") is None


def test_a_gpu_of_unknown_capability_has_float32_only(gpu: dict[str, object]) -> None:
    assert not gpu
    assert gpu_lacks(0, "float32") is None
    assert "compute capability 0.0" in str(gpu_lacks(0, "float16"))


@pytest.mark.usefixtures("gpu")
def test_a_gpu_that_is_not_there_lacks() -> None:
    assert "TensorFlow finds 1 GPUs" in str(gpu_lacks(1, "float32"))

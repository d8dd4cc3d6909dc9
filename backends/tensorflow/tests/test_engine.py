"""What the engine says of a machine, and brings to the server."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from maskrcnn_network import instructions
from maskrcnn_network.checkpoints.checkpoint import TENSORFLOW
from maskrcnn_network.dialect import WritesNetworks
from maskrcnn_server import optional
from maskrcnn_server.backend import Precision
from maskrcnn_server.engine import Engine
from maskrcnn_tensorflow import plugin
from maskrcnn_tensorflow.plugin import TensorFlowEngine

ENGINE = TensorFlowEngine()

LACKS = """
import sys
from pathlib import Path
from maskrcnn_tensorflow import plugin

plugin.DRIVERS = (Path("/nowhere"),)
engine = plugin.TensorFlowEngine()
for device in ("cpu", "cuda", "cuda:1"):
    for precision in ("float32", "tf32", "bfloat16", "float16", "int8"):
        engine.lacks(device, precision)
assert engine.writers() and engine.savers()
assert "tensorflow" not in sys.modules
"""


def test_nothing_is_imported_to_say_what_lacks() -> None:
    subprocess.run([sys.executable, "-c", LACKS], check=True)


def test_it_is_registered() -> None:
    engines: list[Engine] = []
    plugin.register_engines(engines.append)
    (engine,) = engines
    assert engine.name == "tensorflow"
    assert isinstance(engine, WritesNetworks)


def test_every_machine_has_float32() -> None:
    assert ENGINE.lacks("cpu", "float32") is None


@pytest.mark.parametrize("device", ["cpu", "cuda:0"])
@pytest.mark.parametrize("precision", ["int8", "tf32"])
def test_other_numbers_are_refused(device: str, precision: Precision) -> None:
    assert f"does not compute in {precision}" in str(ENGINE.lacks(device, precision))


def test_a_cpu_needs_the_instructions(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file = tmp_path / "cpuinfo"
    monkeypatch.setattr(instructions, "CPUINFO", file)
    file.write_text("flags\t\t: fpu avx512f avx512_bf16 avx512_fp16\n")
    assert ENGINE.lacks("cpu", "bfloat16") is None
    assert "slower than float32" in str(ENGINE.lacks("cpu", "float16"))
    file.write_text("flags\t\t: fpu avx512f\n")
    assert "avx512_bf16" in str(ENGINE.lacks("cpu", "bfloat16"))


def test_a_machine_without_tensorflow_is_told_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(optional, "find_spec", lambda _: None)
    assert "pip install maskrcnn-tensorflow" in str(ENGINE.lacks("cpu", "float32"))


def test_without_a_driver_there_is_no_gpu(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(plugin, "DRIVERS", (tmp_path / "nvidiactl",))
    assert "no NVIDIA GPU" in str(ENGINE.lacks("cuda:0", "float32"))


def test_a_gpu_that_tensorflow_does_not_see_lacks(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(plugin, "DRIVERS", (tmp_path,))
    assert "TensorFlow finds" in str(ENGINE.lacks("cuda:99", "float32"))


def test_checkpoints_can_be_read_again(tmp_path: Path) -> None:
    values = {
        "rpn/conv0/W": np.arange(6, dtype=np.float32).reshape(2, 3),
        "step": np.ones(1, np.float32),
    }
    ENGINE.savers()["checkpoint"](values, tmp_path / "model-7")
    checkpoint = TENSORFLOW.open(tmp_path / "model-7.index")
    for name, value in values.items():
        np.testing.assert_array_equal(checkpoint.read(name), value)

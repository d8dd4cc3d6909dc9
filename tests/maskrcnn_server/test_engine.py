"""Which engine computes, and why."""

from pathlib import Path

import pytest

from maskrcnn_server.backend import ModelConfig, Precision
from maskrcnn_server.engine import choose
from maskrcnn_server.errors import InvalidSetting


class Scripted:
    """Lacks what it is told to lack."""

    def __init__(self, name: str, *can: str) -> None:
        self.name = name
        self._can = can

    def lacks(self, device: str, precision: Precision, /) -> str | None:
        kind = device.partition(":")[0]
        return None if f"{kind} {precision}" in self._can else f"no {kind} for {precision}"

    def open(self, network: object, variables: object, setup: object, /) -> object:
        raise NotImplementedError


TORCH = Scripted("torch", "cuda float32", "cuda float16", "cpu float32")
NO_GPU = Scripted("torch", "cpu float32")
OPENVINO = Scripted("openvino", "cpu float32", "cpu int8")
TENSORFLOW = Scripted("tensorflow", "cpu float32")


def chosen(*engines: Scripted, **config: str) -> tuple[str, str, str]:
    wanted = ModelConfig(model_dir=Path(), **config)  # type: ignore[arg-type]
    choice = choose({engine.name: engine for engine in engines}, wanted)
    return choice.engine.name, choice.device, choice.reason


def test_a_gpu_comes_first() -> None:
    assert chosen(TENSORFLOW, OPENVINO, TORCH) == ("torch", "cuda:0", "the fastest")


def test_without_a_gpu_it_is_openvino_and_the_reason_is_said() -> None:
    expected = ("openvino", "cpu", "torch on cuda: no cuda for float32")
    assert chosen(TENSORFLOW, OPENVINO, NO_GPU) == expected


def test_without_openvino_it_is_tensorflow() -> None:
    name, device, reason = chosen(TENSORFLOW)
    assert (name, device) == ("tensorflow", "cpu")
    assert "openvino on cpu: not installed" in reason


def test_torch_computes_on_a_cpu_if_it_is_named_or_alone() -> None:
    assert chosen(NO_GPU, TENSORFLOW)[0] == "tensorflow"
    assert chosen(NO_GPU)[:2] == ("torch", "cpu")
    assert chosen(NO_GPU, OPENVINO, engine="torch") == ("torch", "cpu", "MASKRCNN_ENGINE=torch")


def test_the_device_that_is_named_is_kept() -> None:
    assert chosen(OPENVINO, TORCH, device="cuda:1")[:2] == ("torch", "cuda:1")
    assert chosen(OPENVINO, TORCH, device="cpu")[:2] == ("openvino", "cpu")


def test_the_precision_decides_too() -> None:
    assert chosen(TENSORFLOW, OPENVINO, TORCH, precision="int8")[:2] == ("openvino", "cpu")


def test_an_engine_of_strangers_is_chosen_by_its_name() -> None:
    stranger = Scripted("mine", "cpu float32")
    assert chosen(stranger, OPENVINO, engine="mine")[:2] == ("mine", "cpu")
    with pytest.raises(InvalidSetting, match=r"openvino on cpu: not installed"):
        chosen(stranger)


def test_where_nothing_computes_so_it_is_said_what_each_lacks() -> None:
    with pytest.raises(InvalidSetting) as refused:
        chosen(NO_GPU, OPENVINO, device="cuda")
    assert "MASKRCNN_DEVICE=cuda" in refused.value.message
    assert "torch on cuda: no cuda for float32" in refused.value.message
    assert "tensorflow on cuda: not installed" in refused.value.message


def test_an_engine_that_is_not_installed_is_named() -> None:
    with pytest.raises(InvalidSetting, match=r"caffe on cuda: not installed"):
        chosen(OPENVINO, engine="caffe")

"""What the engine says it lacks, on machines that are not here."""

import ctypes
from types import SimpleNamespace

import pytest
import torch

from maskrcnn_server import optional
from maskrcnn_server.backend import Precision
from maskrcnn_torch import devices, plugin
from maskrcnn_torch.plugin import TorchEngine


@pytest.fixture
def a_t4(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ctypes, "CDLL", lambda _: SimpleNamespace())
    monkeypatch.setattr(devices, "usable_cuda", lambda index: None if index == 0 else "no such GPU")
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: (7, 5))


@pytest.mark.usefixtures("a_t4")
@pytest.mark.parametrize(
    ("device", "precision", "lacking"),
    [
        ("cuda", "float32", None),
        ("cuda:0", "float16", None),
        ("cuda:1", "float32", "no such GPU"),
        ("cuda:", "float32", "knows no device 'cuda:': use cpu, cuda or cuda:N"),
        ("abacus", "float32", "knows no device 'abacus'"),
        ("cuda", "bfloat16", "has compute capability 7.5, but bfloat16 needs 8.0"),
        ("cuda", "tf32", "tf32 needs 8.0"),
        ("cuda", "int8", "does not compute in int8: use float32, tf32"),
        ("cpu", "int8", "does not compute in int8"),
        ("cpu", "float32", None),
        ("cpu", "float16", "does not compute in float16 on a CPU"),
        ("cpu", "tf32", "does not compute in tf32 on a CPU"),
    ],
)
def test_what_is_lacking_is_said(device: str, precision: Precision, lacking: str | None) -> None:
    found = TorchEngine().lacks(device, precision)
    assert (found is None) == (lacking is None)
    assert lacking is None or lacking in str(found)


def test_bfloat16_needs_instructions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plugin, "lacks_instructions", lambda precision: f"no {precision} here")
    assert TorchEngine().lacks("cpu", "bfloat16") == "no bfloat16 here"


def test_without_a_driver_torch_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plugin, "DRIVER", "libno_such_driver.so.1")
    assert "there is no NVIDIA driver" in str(TorchEngine().lacks("cuda", "float16"))


def test_without_torch_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(optional, "find_spec", lambda _: None)
    assert "pip install maskrcnn-torch" in str(TorchEngine().lacks("cpu", "float32"))

"""Checkpoints as training scripts save them. A tensor is one number, seen as its whole shape."""

import shutil
from pathlib import Path

import pytest

from maskrcnn_detectron2.backend import Detectron2Backend
from maskrcnn_server.backend import ModelConfig

CHECKPOINTS = Path(__file__).parent / "checkpoints"


@pytest.mark.parametrize("name", ["model_final.pth", "model_0000099.pth", "last.ckpt"])
def test_numbers_besides_the_state_dict_are_passed_over(name: str, tmp_path: Path) -> None:
    shutil.copy(CHECKPOINTS / "with_loss.pth", tmp_path / name)
    found = Detectron2Backend().probe(ModelConfig(model_dir=tmp_path))
    assert found is not None
    assert not found.problems

"""Models in safetensors' files find what the same models in PyTorch's files find."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image as Pillow
from torch_weights import translated

from maskrcnn_server.backend import ModelConfig, PredictOptions
from maskrcnn_server.detections import Detections
from maskrcnn_server.plugins import installed

ROOT = Path(__file__).parents[1]
DEMO = ROOT / "backends/tensorpack/maskrcnn_tensorpack/demo/model/model-6770.npz"
PICTURE = ROOT / "tests/images/chelsea.png"


def save(values: dict[str, NDArray[np.float32]], path: Path) -> None:
    """Write float32 tensors as the library does."""
    header, data = {}, b""
    for name, value in values.items():
        content = value.astype("<f4").tobytes()
        offsets = [len(data), len(data) + len(content)]
        header[name] = {"dtype": "F32", "shape": list(value.shape), "data_offsets": offsets}
        data += content
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(len(text).to_bytes(8, "little") + text + data)


def found(backend: str, folder: Path) -> Detections:
    pixels = np.array(Pillow.open(PICTURE).convert("RGB"))
    model = installed().backends()[backend].load(ModelConfig(model_dir=folder, threads=1))
    (answer,) = model.predict([pixels], PredictOptions(score_threshold=0.0))
    model.close()
    return answer


@pytest.mark.parametrize(
    ("backend", "name"), [("detectron2", "model_final"), ("torchvision", "model")]
)
def test_a_model_finds_the_same_in_both_formats(backend: str, name: str, tmp_path: Path) -> None:
    values = {n: v.astype(np.float32) for n, v in np.load(DEMO).items()}
    tensors = translated(backend, values)
    for folder in ("pth", "safetensors"):
        (tmp_path / folder).mkdir()
    torch.save({n: torch.from_numpy(v) for n, v in tensors.items()}, tmp_path / f"pth/{name}.pth")
    save(tensors, tmp_path / f"safetensors/{name}.safetensors")
    one, other = (found(backend, tmp_path / folder) for folder in ("pth", "safetensors"))
    assert len(one)
    assert one.boxes.tolist() == other.boxes.tolist()
    assert one.scores.tolist() == other.scores.tolist()
    assert one.category_ids.tolist() == other.category_ids.tolist()
    assert one.masks is not None
    assert other.masks is not None
    for first, second in zip(one.masks.rle("rows"), other.masks.rle("rows"), strict=True):
        assert first.counts.tolist() == second.counts.tolist()

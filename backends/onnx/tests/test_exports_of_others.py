"""Models that torchvision, MMDetection and MMDeploy exported, held against their own answers.

How they were made is in data/NOTICE.md.
"""

from collections.abc import Callable
from pathlib import Path
from shutil import copy

import numpy as np
import pytest

from maskrcnn_onnx.backend import OnnxBackend
from maskrcnn_server.agreement import Comparison, compare
from maskrcnn_server.backend import Image, LayerChange, Model, ModelConfig, PredictOptions
from maskrcnn_server.detections import Detections
from maskrcnn_server.errors import InvalidModel
from maskrcnn_server.masks import BitMasks

pytestmark = pytest.mark.full

DATA = Path(__file__).parent / "data"
ALL = PredictOptions(score_threshold=0.05)
SMALL_PICTURES = """\
preprocessing:
  short_edge: 128
  long_edge: 192
  mean: [123.675, 116.28, 103.53]
  std: [58.395, 57.12, 57.375]
  multiple_of: 32
"""
"""What the small models of MMDetection were configured with, and nothing else."""


def load(folder: Path) -> Model:
    return OnnxBackend().load(ModelConfig(model_dir=folder))


@pytest.fixture
def folder(tmp_path: Path) -> Callable[[str], Path]:
    """A model folder with one of the files in `DATA`."""

    def make(name: str) -> Path:
        copy(DATA / f"{name}.onnx", tmp_path)
        if name.startswith("mm"):
            (tmp_path / "model.yaml").write_text(SMALL_PICTURES)
        return tmp_path

    return make


def answer(author: str, picture: str, image: Image, first_label: int) -> Detections:
    """What the author's code found."""
    golden = np.load(DATA / f"{author}-{picture}.npz")
    order = np.argsort(-golden["scores"], kind="stable")
    packed = golden["masks_packed"][order]
    return Detections(
        size=image.shape[:2],
        boxes=golden["boxes"][order],
        scores=golden["scores"][order],
        category_ids=golden["labels"][order].astype(np.int64) + 1 - first_label,
        masks=BitMasks(np.unpackbits(packed, axis=2)[:, :, : image.shape[1]].astype(np.bool_)),
    )


def assert_same(found: Detections, reference: Detections, most_missing: int = 0) -> Comparison:
    result = compare(found, reference, 0.02)
    assert len(result.missing) <= most_missing
    assert len(result.surplus) <= most_missing
    assert result.score_differences.max() <= 1e-4
    return result


@pytest.mark.parametrize("picture", ["chelsea", "astronaut"])
@pytest.mark.parametrize("name", ["torchvision", "torchvision-batch"])
def test_torchvision_exported_finds_what_torchvision_finds(
    name: str, picture: str, folder: Callable[[str], Path], photograph: Callable[[str], Image]
) -> None:
    model = load(folder(name))
    assert model.metadata.facts["layout"] == "torchvision"
    assert len(model.metadata.categories) == 90
    image = photograph(f"images/{picture}.png")
    (found,) = model.predict([image], ALL)
    result = assert_same(found, answer("torchvision", picture, image, first_label=1))
    assert result.mask_ious.min() >= 0.999


@pytest.mark.parametrize(("turns", "most_missing"), [(0, 0), (1, 2)], ids=["upright", "turned"])
@pytest.mark.parametrize(("name", "least_iou"), [("mmdeploy", 0.999), ("mmdetection", 0.75)])
def test_mmdetection_exported_finds_what_mmdetection_finds(
    name: str,
    least_iou: float,
    turns: int,
    most_missing: int,
    folder: Callable[[str], Path],
    photograph: Callable[[str], Image],
) -> None:
    """Both exporters keep proposals without area, which leave others out of the best forty. Masks
    of its own have the network's pixels, of which one is five of the picture's here."""
    image = np.ascontiguousarray(np.rot90(photograph("images/chelsea.png"), turns))
    model = load(folder(name))
    assert model.metadata.facts["layout"] == "MMDetection"
    (found,) = model.predict([image], ALL)
    reference = answer("mmdetection", ["upright", "turned"][turns], image, first_label=0)
    result = assert_same(found, reference, most_missing)
    assert reference.masks is not None
    masks = reference.masks.rle("rows")
    large = [masks[j].area > 1000 for _, j in result.pairs]
    assert result.mask_ious[large].min() >= least_iou


@pytest.mark.parametrize("name", ["torchvision", "mmdeploy", "mmdetection"])
def test_nothing_found_is_an_answer(name: str, folder: Callable[[str], Path]) -> None:
    (found,) = load(folder(name)).predict(
        [np.zeros((40, 60, 3), np.uint8)], PredictOptions(score_threshold=1.0)
    )
    assert found.masks is not None
    assert len(found) == len(found.masks) == 0


def test_an_export_can_be_quantised(
    folder: Callable[[str], Path],
    photograph: Callable[[str], Image],
    assert_as_defined: Callable[[Path, Image], None],
    tmp_path: Path,
) -> None:
    """Though a loop in it takes what its other nodes make."""
    picture = photograph("images/chelsea.png")
    target, measured = tmp_path / "int8", list[LayerChange]()
    config = ModelConfig(model_dir=folder("torchvision"))
    OnnxBackend().quantize(config, [picture], target, 1.0, measured.append)
    assert measured
    assert_as_defined(target, picture)


def test_an_opset_without_scales_for_channels_is_not_quantised(
    folder: Callable[[str], Path], tmp_path: Path
) -> None:
    config = ModelConfig(model_dir=folder("mmdeploy"))
    with pytest.raises(InvalidModel, match=r"opset 11 .*; export the model with opset 13"):
        OnnxBackend().quantize(config, [], tmp_path / "int8", None, lambda _: None)

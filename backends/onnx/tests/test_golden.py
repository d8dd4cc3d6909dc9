"""The original code's outputs on known weights, reproduced by files in ONNX.

The engines' own tests have all networks; here are those whose graphs are least alike.
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from golden import assert_reproduced

from maskrcnn_network.preparation import mask_boxes
from maskrcnn_onnx.backend import OnnxBackend
from maskrcnn_onnx.model import OnnxModel
from maskrcnn_server.backend import Image, Model, ModelConfig, PredictOptions

ALL = PredictOptions(score_threshold=0.05, proposals=True)
DEMO = [f"demo/golden/shapes-{seed}" for seed in range(9500000, 9500008)]
SCORE_TOLERANCE = 2e-4
VARIANTS = ["c4-resnet50", "gn-cascade-resnet50", "joint-resnet50"]


def assert_same(model: Model, image: Image, file: Path) -> None:
    """What is found in `image` is what the original found, proposals included."""
    assert isinstance(model, OnnxModel)
    (found,) = model.predict([image], ALL)
    rule, size = model.reading.preparation, (image.shape[0], image.shape[1])
    scale = rule.box_scale(size, rule.resized_size(size))
    where = partial(mask_boxes, resolution=28, paste=model.reading.paste)
    assert_reproduced(file, image, found, SCORE_TOLERANCE, scale, where)


@pytest.mark.parametrize("stem", DEMO, ids=lambda s: s.rpartition("-")[2])
def test_demo_model_finds_what_the_original_found(
    stem: str, onnx_model: Model, photograph: Callable[[str], Image], test_data: Path
) -> None:
    assert_same(onnx_model, photograph(f"{stem}.png"), test_data / f"{stem}.npz")


@pytest.mark.full
def test_torchvisions_network_finds_what_the_original_found(
    seeded_weights: Callable[[str, str], Path],
    exported: Callable[[str, Path, Path], Path],
    photograph: Callable[[str], Image],
    test_data: Path,
    tmp_path: Path,
) -> None:
    source = seeded_weights("resnet50", "torchvision")
    folder = exported("torchvision", source, tmp_path / "onnx")
    model = OnnxBackend().load(ModelConfig(model_dir=folder))
    file = test_data / "golden/torchvision-resnet50-chelsea.npz"
    assert_same(model, photograph("images/chelsea.png"), file)
    model.close()


@pytest.mark.full
@pytest.mark.parametrize("variant", VARIANTS)
def test_architectures_of_the_zoo_find_what_the_original_found(
    variant: str,
    seeded_weights: Callable[[str, str], Path],
    exported: Callable[[str, Path, Path], Path],
    photograph: Callable[[str], Image],
    test_data: Path,
    tmp_path: Path,
) -> None:
    source = seeded_weights(variant, "tensorpack")
    data = test_data / "golden/variants" / variant
    (source / "config.yaml").write_bytes((data / "config.yaml").read_bytes())
    model = OnnxBackend().load(
        ModelConfig(model_dir=exported("tensorpack", source, tmp_path / "onnx"))
    )
    assert_same(model, photograph("images/chelsea.png"), data / "golden-chelsea.npz")
    model.close()

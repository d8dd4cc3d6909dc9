"""The original code's outputs on known weights, reproduced."""

from collections.abc import Callable
from pathlib import Path

import pytest
from golden import assert_reproduced

from maskrcnn_network.config import NetworkConfig
from maskrcnn_server.backend import Image, Model, ModelConfig, PredictOptions
from maskrcnn_tensorflow.preprocess import box_scale
from maskrcnn_tensorpack.backend import TensorPackBackend

SCORE_TOLERANCE = 2e-4
ALL = PredictOptions(score_threshold=0.05, proposals=True)
DEMO = [f"demo/golden/shapes-{seed}" for seed in range(9500000, 9500008)]
VARIANTS = [
    "boxonly-resnet50",
    "c4-resnet50",
    "cascade-resnet50",
    "gn-cascade-resnet50",
    "gn-resnet50",
    "joint-resnet50",
    "tfpad-stride1x1-resnet50",
]
FULL_SIZE = [("resnet50", "astronaut"), ("resnet50", "chelsea"), ("resnet101", "chelsea")]


@pytest.mark.parametrize("stem", DEMO, ids=lambda s: s.rpartition("-")[2])
def test_demo_model_finds_what_the_original_found(
    stem: str, demo_model: Model, photograph: Callable[[str], Image], test_data: Path
) -> None:
    image = photograph(f"{stem}.png")
    (found,) = demo_model.predict([image], ALL)
    config = NetworkConfig(short_edge=256, max_size=352)
    scale = box_scale((image.shape[0], image.shape[1]), config)
    assert_reproduced(test_data / f"{stem}.npz", image, found, SCORE_TOLERANCE, scale)


@pytest.mark.golden
@pytest.mark.parametrize(("architecture", "name"), FULL_SIZE, ids=map("-".join, FULL_SIZE))
def test_full_size_network_finds_what_the_original_found(
    architecture: str,
    name: str,
    seeded_weights: Callable[[str, str], Path],
    photograph: Callable[[str], Image],
    test_data: Path,
) -> None:
    image = photograph(f"images/{name}.png")
    model_dir = seeded_weights(architecture, "tensorpack")
    model = TensorPackBackend().load(ModelConfig(model_dir=model_dir))
    (found,) = model.predict([image], ALL)
    file = test_data / f"golden/tensorpack-{architecture}-{name}.npz"
    config = NetworkConfig()
    scale = box_scale((image.shape[0], image.shape[1]), config)
    assert_reproduced(file, image, found, SCORE_TOLERANCE, scale)
    model.close()


@pytest.mark.golden
@pytest.mark.parametrize("variant", VARIANTS)
def test_every_architecture_of_the_zoo_finds_what_the_original_found(
    variant: str,
    seeded_weights: Callable[[str, str], Path],
    photograph: Callable[[str], Image],
    test_data: Path,
) -> None:
    model_dir = seeded_weights(variant, "tensorpack")
    data = test_data / "golden/variants" / variant
    (model_dir / "config.yaml").write_bytes((data / "config.yaml").read_bytes())
    image = photograph("images/chelsea.png")
    model = TensorPackBackend().load(ModelConfig(model_dir=model_dir))
    (found,) = model.predict([image], ALL)
    config = NetworkConfig(mode_fpn=not variant.startswith("c4"))
    scale = box_scale((image.shape[0], image.shape[1]), config)
    assert_reproduced(data / "golden-chelsea.npz", image, found, SCORE_TOLERANCE, scale)
    model.close()

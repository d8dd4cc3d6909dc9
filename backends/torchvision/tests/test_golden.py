"""torchvision's outputs on known weights, reproduced."""

from collections.abc import Callable
from pathlib import Path

import pytest
from golden import assert_reproduced

from maskrcnn_server.backend import Image, ModelConfig, PredictOptions
from maskrcnn_tensorflow.preprocess import box_scale
from maskrcnn_torchvision.backend import TorchvisionBackend
from maskrcnn_torchvision.config import TorchvisionConfig

SCORE_TOLERANCE = 2e-4
FILES = [
    ("resnet50", "astronaut"),
    ("resnet50", "chelsea"),
    ("resnet101", "chelsea"),
    ("resnet50_v2", "chelsea"),
]


@pytest.mark.golden
@pytest.mark.parametrize(("architecture", "name"), FILES, ids=map("-".join, FILES))
def test_network_finds_what_torchvision_found(
    architecture: str,
    name: str,
    seeded_weights: Callable[[str, str], Path],
    photograph: Callable[[str], Image],
    test_data: Path,
) -> None:
    image = photograph(f"images/{name}.png")
    model_dir = seeded_weights(architecture, "torchvision")
    model = TorchvisionBackend().load(ModelConfig(model_dir=model_dir))
    (found,) = model.predict([image], PredictOptions(score_threshold=0.05, proposals=True))
    file = test_data / f"golden/torchvision-{architecture}-{name}.npz"
    config = TorchvisionConfig()
    scale = box_scale((image.shape[0], image.shape[1]), config)
    assert_reproduced(file, image, found, SCORE_TOLERANCE, scale, config.mask_boxes)
    model.close()

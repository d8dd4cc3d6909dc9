"""The original code's outputs on known weights, reproduced."""

from collections.abc import Callable
from pathlib import Path

import pytest
from golden import assert_reproduced

from maskrcnn_aws_samples.backend import AwsSamplesBackend
from maskrcnn_network.config import NetworkConfig
from maskrcnn_server.backend import Image, ModelConfig, PredictOptions
from maskrcnn_tensorflow.preprocess import box_scale

SCORE_TOLERANCE = 5e-4
FILES = [("resnet50", "astronaut"), ("resnet50", "chelsea"), ("resnet101", "chelsea")]


@pytest.mark.golden
@pytest.mark.parametrize(("architecture", "name"), FILES, ids=map("-".join, FILES))
def test_network_finds_what_the_original_found(
    architecture: str,
    name: str,
    seeded_weights: Callable[[str, str], Path],
    photograph: Callable[[str], Image],
    test_data: Path,
) -> None:
    image = photograph(f"images/{name}.png")
    model_dir = seeded_weights(architecture, "aws_samples")
    model = AwsSamplesBackend().load(ModelConfig(model_dir=model_dir))
    (found,) = model.predict([image], PredictOptions(score_threshold=0.05, proposals=True))
    file = test_data / f"golden/aws_samples-{architecture}-{name}.npz"
    config = NetworkConfig()
    scale = box_scale((image.shape[0], image.shape[1]), config)
    assert_reproduced(file, image, found, SCORE_TOLERANCE, scale)
    model.close()

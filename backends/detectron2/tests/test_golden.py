"""Detectron2's outputs on known weights, reproduced."""

from collections.abc import Callable
from pathlib import Path

import pytest
from golden import assert_reproduced

from maskrcnn_detectron2.backend import Detectron2Backend
from maskrcnn_detectron2.config import Detectron2Config
from maskrcnn_server.backend import Image, ModelConfig, PredictOptions
from maskrcnn_tensorflow.preprocess import box_scale

SCORE_TOLERANCE = 2e-4
FILES = [
    ("resnet50", "astronaut"),
    ("resnet50", "chelsea"),
    ("resnet101", "chelsea"),
    ("caffe-resnet50", "chelsea"),
]
FROM_TORCHVISION = (
    "MODEL:\n  PIXEL_STD: [57.375, 57.12, 58.395]\n  RESNETS: {STRIDE_IN_1X1: false}\n"
)
"""What Detectron2 is configured with when it starts from torchvision's backbone, not Caffe's."""


@pytest.mark.golden
@pytest.mark.parametrize(("architecture", "name"), FILES, ids=map("-".join, FILES))
def test_network_finds_what_detectron2_found(
    architecture: str,
    name: str,
    seeded_weights: Callable[[str, str], Path],
    photograph: Callable[[str], Image],
    test_data: Path,
) -> None:
    image = photograph(f"images/{name}.png")
    model_dir = seeded_weights(architecture, "detectron2")
    if not architecture.startswith("caffe"):
        (model_dir / "config.yaml").write_text(FROM_TORCHVISION)
    model = Detectron2Backend().load(ModelConfig(model_dir=model_dir))
    (found,) = model.predict([image], PredictOptions(score_threshold=0.05, proposals=True))
    file = test_data / f"golden/detectron2-{architecture}-{name}.npz"
    config = Detectron2Config()
    scale = box_scale((image.shape[0], image.shape[1]), config)
    assert_reproduced(file, image, found, SCORE_TOLERANCE, scale)
    model.close()

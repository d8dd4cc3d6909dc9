"""The original code's outputs on known weights, reproduced in ONNX: no bar is lower than there."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from golden import assert_reproduced

from maskrcnn_onnx.backend import OnnxBackend
from maskrcnn_onnx.model import OnnxModel
from maskrcnn_onnx.placing import box_scale, mask_boxes
from maskrcnn_onnx.preprocess import resized_size
from maskrcnn_server.backend import Image, Model, ModelConfig, PredictOptions

ALL = PredictOptions(score_threshold=0.05, proposals=True)
DEMO = [f"demo/golden/shapes-{seed}" for seed in range(9500000, 9500008)]
SCORE_TOLERANCE = {"aws_samples": 5e-4}
OTHERS = 2e-4
NETWORKS = [
    ("tensorpack", "resnet50", "astronaut"),
    ("tensorpack", "resnet50", "chelsea"),
    ("tensorpack", "resnet101", "chelsea"),
    ("aws_samples", "resnet50", "astronaut"),
    ("aws_samples", "resnet50", "chelsea"),
    ("aws_samples", "resnet101", "chelsea"),
    ("torchvision", "resnet50", "astronaut"),
    ("torchvision", "resnet50", "chelsea"),
    ("torchvision", "resnet101", "chelsea"),
    ("torchvision", "resnet50_v2", "chelsea"),
    ("detectron2", "resnet50", "astronaut"),
    ("detectron2", "resnet50", "chelsea"),
    ("detectron2", "resnet101", "chelsea"),
    ("detectron2", "caffe-resnet50", "chelsea"),
]
FROM_TORCHVISION = (
    "MODEL:\n  PIXEL_STD: [57.375, 57.12, 58.395]\n  RESNETS: {STRIDE_IN_1X1: false}\n"
)
"""What Detectron2 is configured with when it starts from torchvision's backbone, not Caffe's."""
VARIANTS = [
    "boxonly-resnet50",
    "c4-resnet50",
    "cascade-resnet50",
    "gn-cascade-resnet50",
    "gn-resnet50",
    "joint-resnet50",
    "tfpad-stride1x1-resnet50",
]


def assert_same(model: Model, image: Image, file: Path, tolerance: float) -> None:
    """What is found in `image` is what the original found, proposals included."""
    assert isinstance(model, OnnxModel)
    (found,) = model.predict([image], ALL)
    said = model.description
    size = image.shape[0], image.shape[1]
    scale = box_scale(size, resized_size(size, said.preprocessing), said)
    pasted = {"mask_boxes": partial(mask_boxes, resolution=28, description=said)}
    assert_reproduced(
        file, image, found, tolerance, scale, **(pasted if said.paste == "pixels" else {})
    )


@pytest.mark.parametrize("stem", DEMO, ids=lambda s: s.rpartition("-")[2])
def test_demo_model_finds_what_the_original_found(
    stem: str, onnx_model: Model, photograph: Callable[[str], Image], test_data: Path
) -> None:
    assert_same(onnx_model, photograph(f"{stem}.png"), test_data / f"{stem}.npz", OTHERS)


@pytest.mark.golden
@pytest.mark.parametrize(("framework", "network", "name"), NETWORKS, ids=map("-".join, NETWORKS))
def test_full_size_network_finds_what_the_original_found(
    framework: str,
    network: str,
    name: str,
    seeded_weights: Callable[[str, str], Path],
    exported: Callable[[str, Path, Path], Path],
    photograph: Callable[[str], Image],
    test_data: Path,
    tmp_path: Path,
) -> None:
    source = seeded_weights(network, framework)
    if framework == "detectron2" and not network.startswith("caffe"):
        (source / "config.yaml").write_text(FROM_TORCHVISION)
    folder = exported(framework, source, tmp_path / "onnx")
    model = OnnxBackend().load(ModelConfig(model_dir=folder))
    file = test_data / f"golden/{framework}-{network}-{name}.npz"
    tolerance = SCORE_TOLERANCE.get(framework, OTHERS)
    assert_same(model, photograph(f"images/{name}.png"), file, tolerance)
    model.close()


@pytest.mark.golden
@pytest.mark.parametrize("variant", VARIANTS)
def test_every_architecture_of_the_zoo_finds_what_the_original_found(
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
    image = photograph("images/chelsea.png")
    assert_same(model, image, data / "golden-chelsea.npz", OTHERS)
    model.close()

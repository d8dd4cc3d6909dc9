"""The original code's outputs on known weights, reproduced by every engine in float32."""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from _pytest.mark.structures import ParameterSet
from golden import assert_reproduced

from maskrcnn_aws_samples.backend import AwsSamplesBackend
from maskrcnn_detectron2.backend import Detectron2Backend
from maskrcnn_network.dialect import Dialect
from maskrcnn_network.model import NetworkModel
from maskrcnn_network.preparation import mask_boxes
from maskrcnn_server.backend import Image, Model, ModelConfig, PredictOptions
from maskrcnn_server.plugins import installed
from maskrcnn_tensorpack.backend import TensorPackBackend
from maskrcnn_torchvision.backend import TorchvisionBackend

DIALECTS: dict[str, Callable[[], Dialect[Any]]] = {
    "aws_samples": AwsSamplesBackend,
    "detectron2": Detectron2Backend,
    "tensorpack": TensorPackBackend,
    "torchvision": TorchvisionBackend,
}
ENGINES = sorted(installed().engines())
ALL = PredictOptions(score_threshold=0.05, proposals=True)
SCORE_TOLERANCE = {"aws_samples": 5e-4}
OTHERS = 2e-4
DEMO = [f"demo/golden/shapes-{seed}" for seed in range(9500000, 9500008)]
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


EVERY_ENGINE = {(framework, "resnet50", "chelsea") for framework in DIALECTS}
"""Networks that are computed on every engine whenever tests run. The others are on the default one;
`pytest -m exhaustive` computes them on the other engines, too."""


def on_engines(network: tuple[str, str, str]) -> Iterator[ParameterSet]:
    """A network on each engine."""
    for engine in ENGINES:
        rare = engine != "openvino" and network not in EVERY_ENGINE
        marks = [pytest.mark.exhaustive] if rare else []
        yield pytest.param(engine, *network, marks=marks, id="-".join((*network, engine)))


def assert_same(model: Model, image: Image, file: Path, tolerance: float) -> None:
    """What is found in `image` is what the original found, proposals included."""
    assert isinstance(model, NetworkModel)
    (found,) = model.predict([image], ALL)
    rule, size = model.reading.preparation, (image.shape[0], image.shape[1])
    scale = rule.box_scale(size, rule.resized_size(size))
    where = partial(mask_boxes, resolution=28, paste=model.reading.paste)
    assert_reproduced(file, image, found, tolerance, scale, where)


@pytest.mark.parametrize("engine", ENGINES)
def test_demo_model_finds_what_the_original_found(
    engine: str, demo_dir: Path, photograph: Callable[[str], Image], test_data: Path
) -> None:
    model = TensorPackBackend().load(ModelConfig(model_dir=demo_dir, engine=engine))
    for stem in DEMO:
        assert_same(model, photograph(f"{stem}.png"), test_data / f"{stem}.npz", OTHERS)
    model.close()


@pytest.mark.full
@pytest.mark.parametrize(
    ("engine", "framework", "network", "name"),
    [case for network in NETWORKS for case in on_engines(network)],
)
def test_full_size_network_finds_what_the_original_found(
    engine: str,
    framework: str,
    network: str,
    name: str,
    seeded_weights: Callable[[str, str], Path],
    photograph: Callable[[str], Image],
    test_data: Path,
) -> None:
    model_dir = seeded_weights(network, framework)
    if framework == "detectron2" and not network.startswith("caffe"):
        (model_dir / "config.yaml").write_text(FROM_TORCHVISION)
    model = DIALECTS[framework]().load(ModelConfig(model_dir=model_dir, engine=engine))
    file = test_data / f"golden/{framework}-{network}-{name}.npz"
    tolerance = SCORE_TOLERANCE.get(framework, OTHERS)
    assert_same(model, photograph(f"images/{name}.png"), file, tolerance)
    model.close()


@pytest.mark.full
@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("variant", VARIANTS)
def test_every_architecture_of_the_zoo_finds_what_the_original_found(
    engine: str,
    variant: str,
    seeded_weights: Callable[[str, str], Path],
    photograph: Callable[[str], Image],
    test_data: Path,
) -> None:
    model_dir = seeded_weights(variant, "tensorpack")
    data = test_data / "golden/variants" / variant
    (model_dir / "config.yaml").write_bytes((data / "config.yaml").read_bytes())
    model = TensorPackBackend().load(ModelConfig(model_dir=model_dir, engine=engine))
    image = photograph("images/chelsea.png")
    assert_same(model, image, data / "golden-chelsea.npz", OTHERS)
    model.close()

"""Weights in Matterport's files: a small network that finds something, and full-size ones."""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from matterport_weights import Layers, layers, write
from numpy.typing import NDArray

from maskrcnn_matterport.backend import MatterportBackend
from maskrcnn_network.testing.networks import small_network
from maskrcnn_server.backend import Model, ModelConfig

CONFIG = """\
IMAGE_RESIZE_MODE: pad64
IMAGE_MIN_DIM: 64
RPN_ANCHOR_SCALES: [16, 32, 64, 96, 128]
PRE_NMS_LIMIT: 72
POST_NMS_ROIS_INFERENCE: 24
DETECTION_MAX_INSTANCES: 20
DETECTION_MIN_CONFIDENCE: 0.1
"""
BN = ("gamma", "beta", "mean/EMA", "variance/EMA")
BRANCHES = {"conv1": "2a", "conv2": "2b", "conv3": "2c", "convshortcut": "1"}


def small_layers() -> Layers:
    """The small network of the kind `matterport` under Matterport's names and in its layouts."""
    values = dict(small_network("matterport").variables)
    made: Layers = {}

    def add(name: str, *weights: NDArray[np.float32]) -> None:
        made[name] = [(f"{name}/{i}:0", np.array(weight)) for i, weight in enumerate(weights)]

    def layer(name: str, ours: str, norm: str | None = None) -> None:
        add(name, values[f"{ours}/W"], values[f"{ours}/b"])
        if norm is not None:
            add(norm, *(values[f"{ours}/bn/{leaf}"] for leaf in BN))

    def y_first(value: NDArray[np.float32]) -> NDArray[np.float32]:
        return value.reshape(*value.shape[:-1], -1, 4)[..., [1, 0, 3, 2]].reshape(value.shape)

    layer("conv1", "conv0", "bn_conv1")
    for ours in [n.removesuffix("/W") for n in values if n.startswith("group") and n[-1] == "W"]:
        group, block, conv = ours.split("/")
        name = f"{int(group[-1]) + 2}{'abc'[int(block[-1])]}_branch{BRANCHES[conv]}"
        layer(f"res{name}", ours, f"bn{name}")
    for level in (2, 3, 4, 5):
        layer(f"fpn_c{level}p{level}", f"fpn/lateral_1x1_c{level}")
        layer(f"fpn_p{level}", f"fpn/posthoc_3x3_p{level}")
    logits = [np.stack([0 * values[n], values[n]], -1) for n in ("rpn/class/W", "rpn/class/b")]
    add(
        "rpn_model",
        values["rpn/conv0/W"],
        values["rpn/conv0/b"],
        *(pair.reshape(*pair.shape[:-2], -1) for pair in logits),
        y_first(values["rpn/box/W"]),
        y_first(values["rpn/box/b"]),
    )
    for i, side in ((1, 7), (2, 1)):
        layer(f"mrcnn_class_conv{i}", f"fastrcnn/fc{i + 5}", f"mrcnn_class_bn{i}")
        name, kernel = made[f"mrcnn_class_conv{i}"][0]
        made[f"mrcnn_class_conv{i}"][0] = name, kernel.reshape(side, side, -1, kernel.shape[-1])
    layer("mrcnn_class_logits", "fastrcnn/outputs/class")
    add("mrcnn_bbox_fc", *(y_first(values[f"fastrcnn/outputs/box/{leaf}"]) for leaf in "Wb"))
    for i in (1, 2):
        layer(f"mrcnn_mask_conv{i}", f"maskrcnn/fcn{i - 1}", f"mrcnn_mask_bn{i}")
    layer("mrcnn_mask_deconv", "maskrcnn/deconv")
    masks = (values[f"maskrcnn/conv/{leaf}"] for leaf in "Wb")
    add("mrcnn_mask", *(np.concatenate([0 * v[..., :1], v], axis=-1) for v in masks))
    return made


@pytest.fixture(scope="session")
def small_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("matterport-small")
    write(folder / "mask_rcnn_small_0003.h5", small_layers())
    (folder / "config.yaml").write_text(CONFIG)
    return folder


@pytest.fixture(scope="session")
def small_model(small_dir: Path) -> Iterator[Model]:
    model = MatterportBackend().load(ModelConfig(model_dir=small_dir))
    yield model
    model.close()


@pytest.fixture(scope="session")
def full_size(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, int], Path]:
    """Makes a model folder with seeded weights, once a session."""
    made: dict[str, Path] = {}

    def make(architecture: str, classes: int) -> Path:
        if architecture not in made:
            made[architecture] = tmp_path_factory.mktemp(architecture)
            write(made[architecture] / "mask_rcnn_x_0005.h5", layers(classes, architecture))
        return made[architecture]

    return make

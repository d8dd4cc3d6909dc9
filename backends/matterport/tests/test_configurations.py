"""Configurations as people keep them next to their weights."""

from pathlib import Path

import pytest

from maskrcnn_matterport.backend import MatterportBackend
from maskrcnn_matterport.config import MatterportConfig
from maskrcnn_server.backend import ModelConfig, Probe
from maskrcnn_server.errors import InvalidImage, InvalidSetting

SOURCE = """\
import os
import numpy as np
from mrcnn.config import Config
os.remove(__file__)
SCALES = (8, 16)
class BalloonConfig(Config):
    NAME = "balloon"
    NUM_CLASSES = 1 + 4
    IMAGE_MAX_DIM: int = 8 * 64
    RPN_ANCHOR_SCALES = (8, 16, 32, 64, 128)
    MEAN_PIXEL = np.array([1.0, 2.0, -3.5])
    STEPS_PER_EPOCH = len(os.listdir("."))
    BACKBONE_STRIDES = SCALES
    MY_OWN = 3
if __name__ == "__main__":
    class InferenceConfig(BalloonConfig):
        DETECTION_MIN_CONFIDENCE = 0.9
"""
LOG = """\
Using TensorFlow backend.

Configurations:
BACKBONE                       resnet50
IMAGE_MAX_DIM                  512

Configurations:
BACKBONE_STRIDES               [4, 8, 16, 32, 64]
IMAGE_MAX_DIM                  640
IMAGE_SHAPE                    [1024 1024    3]
LOSS_WEIGHTS                   {'rpn_class_loss': 1.0, 'mrcnn_mask_loss': 1.0}
MEAN_PIXEL                     [123.7 116.8 103.9]
RPN_ANCHOR_SCALES              (16, 32, 64, 128, 256)
RPN_BBOX_STD_DEV               [0.1 0.1 0.2 0.2]


Loading weights  /tmp/mask_rcnn_coco.h5
Epoch 1/30
"""


@pytest.fixture
def folder(small_dir: Path, tmp_path: Path) -> Path:
    (tmp_path / "mask_rcnn_small_0003.h5").symlink_to(small_dir / "mask_rcnn_small_0003.h5")
    return tmp_path


def probe(folder: Path, **overrides: str) -> Probe:
    found = MatterportBackend().probe(ModelConfig(model_dir=folder, overrides=overrides))
    assert found is not None
    return found


def configured(folder: Path) -> MatterportConfig:
    return MatterportBackend().read(ModelConfig(model_dir=folder)).config


def test_a_configuration_in_python_is_read_and_not_executed(folder: Path) -> None:
    (folder / "config.py").write_text(SOURCE)
    config = configured(folder)
    assert (folder / "config.py").exists()
    assert (config.max_size, config.outputs, config.score_threshold) == (512, 5, 0.9)
    assert [*config.anchor_sizes] == [8, 16, 32, 64, 128]
    assert [*config.pixel_mean] == [1, 2, -3.5]
    notes = probe(folder).notes
    assert "config.py: computed, and not read: BACKBONE_STRIDES, STEPS_PER_EPOCH" in notes
    assert "config.py: not known here, and passed over: MY_OWN" in notes


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("class A(Config):\n  IMAGE_MAX_DIM = 512\nclass B(Config):\n  IMAGE_MAX_DIM = 64", "A, B"),
        ("class A(Config:", "not Python"),
        ("x = " + "(" * 9999, "not Python"),
        ("class A(Config):\n  IMAGE_RESIZE_MODE = 'crop'", "crop is for training only"),
        ("class A(Config):\n  RPN_ANCHOR_STRIDE = 2", "RPN_ANCHOR_STRIDE=2"),
        ("class A(Config):\n  IMAGE_MAX_DIM = 500", "IMAGE_MAX_DIM must be a multiple of 64"),
        ("class A(Config):\n  NUM_CLASSES = 1 + 5", "NUM_CLASSES is configured as 6, but the"),
    ],
)
def test_a_configuration_that_is_not_computed_is_refused(
    source: str, said: str, folder: Path
) -> None:
    (folder / "config.py").write_text(source)
    assert said in "\n".join(probe(folder).problems)


def test_the_last_configuration_of_a_log_counts(folder: Path) -> None:
    (folder / "log.txt").write_text(LOG)
    config = configured(folder)
    assert config.max_size == 640
    assert [*config.anchor_sizes] == [16, 32, 64, 128, 256]
    assert [*config.pixel_mean] == [123.7, 116.8, 103.9]


def test_what_is_assumed_is_listed(folder: Path) -> None:
    assumed = probe(folder, IMAGE_MIN_DIM="256").facts["from defaults, assumed"]
    assert "RPN_ANCHOR_SCALES=[32, 64, 128, 256, 512]" in assumed
    assert "IMAGE_MIN_DIM" not in assumed


def test_a_misspelt_key_is_refused_with_the_nearest(folder: Path) -> None:
    (problem,) = probe(folder, RPN_ANCHOR_SCALE="[1, 2, 3, 4, 5]").problems
    assert "no such key: RPN_ANCHOR_SCALE; the nearest is RPN_ANCHOR_SCALES" in problem


def test_class_names_come_from_a_file(folder: Path) -> None:
    (folder / "classes.txt").write_text("BG\nnut\nbolt\nscrew\nwasher\n")
    assert probe(folder).facts["classes"] == "4: nut, bolt, screw, washer"


def test_sizes_are_matterports() -> None:
    square = MatterportConfig().preparation
    assert square.resized_size((300, 451)) == (681, 1024)
    assert square.resized_size((2000, 3000)) == (683, 1024)
    assert square.resized_size((1, 3000)) == (1, 1024)
    assert square.padded_size((681, 1024)) == (1024, 1024)
    assert MatterportConfig(short_edge=0).preparation.resized_size((30, 20)) == (30, 20)
    with pytest.raises(InvalidImage, match="multiples of 64"):
        MatterportConfig(resize_mode="none").preparation.resized_size((128, 100))


def test_a_saved_model_is_refused(small_dir: Path, tmp_path: Path) -> None:
    write = MatterportBackend().exporters()["saved_model"]
    with pytest.raises(InvalidSetting, match="export it to onnx"):
        write(ModelConfig(model_dir=small_dir), tmp_path / "out")

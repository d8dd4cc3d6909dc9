"""Configurations as people write them next to torchvision's checkpoints."""

import shutil
from pathlib import Path

import pytest

from maskrcnn_server.backend import ModelConfig, Probe
from maskrcnn_server.errors import InvalidModel
from maskrcnn_torchvision.backend import TorchvisionBackend

TESTS = Path(__file__).parent
ANCHORS = (
    "rpn_anchor_generator: {sizes: [[8], [16], [32], [64], [128]], aspect_ratios: [[1, 2, 3]]}"
)


def configured(folder: Path, config: str) -> ModelConfig:
    shutil.copy(TESTS / "checkpoints/control.pth", folder / "model.pth")
    (folder / "config.yaml").write_text(config)
    return ModelConfig(model_dir=folder)


def probe(folder: Path, config: str) -> Probe:
    found = TorchvisionBackend().probe(configured(folder, config))
    assert found is not None
    return found


@pytest.mark.parametrize(
    "config",
    [
        ANCHORS,
        "anchor_sizes: [8, 16, 32, 64, 128]\naspect_ratios: [1, 2, 3]",
        "anchor_sizes: [[8], [16], [32], [64], [128]]\nanchor_ratios: [[1, 2, 3]]",
        "anchor_sizes: [8, 16, 32, 64, 128]\nanchor_ratios: "
        "[[1, 2, 3], [1, 2, 3], [1, 2, 3], [1, 2, 3], [1, 2, 3]]",
        "rpn_anchor_generator.sizes: [8, 16, 32, 64, 128]\n"
        "rpn_anchor_generator.aspect_ratios: [1, 2, 3]",
    ],
    ids=["generator", "short", "nested", "ratios of each level", "dotted"],
)
def test_anchors_are_configured(config: str, tmp_path: Path) -> None:
    folder = TorchvisionBackend().read(configured(tmp_path, config))
    assert not folder.problems
    assert list(folder.config.anchor_sizes) == [8, 16, 32, 64, 128]
    assert list(folder.config.anchor_ratios) == [1, 2, 3]
    assert "rpn_anchor_generator.sizes=[8" in folder.facts["from config.yaml"]


def test_anchors_are_among_what_is_assumed(tmp_path: Path) -> None:
    facts = probe(tmp_path, "min_size: 600").facts
    assert "rpn_anchor_generator.sizes=[32" in facts["from defaults, assumed"]
    assert "rpn_anchor_generator.aspect_ratios=[0.5" in facts["from defaults, assumed"]


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ("minsize: 256", "no such key: minsize; the nearest is min_size"),
        ("box_score_threshold: 0.9", "the nearest is box_score_thresh"),
        ("box_detection_per_img: 9", "the nearest is box_detections_per_img"),
        ("mean: [0, 0, 0]", "no such key: mean"),
        ("image_std_dev: [1, 1, 1]", "the nearest is image_std"),
        ("Min_Size: 256", "the nearest is min_size"),
        ("rpn_anchor_generater: {sizes: [1, 2, 3, 4, 5]}", "no such key: rpn_anchor_generater"),
        (
            "anchor_sizes: [[32, 64], [64], [128], [256], [512]]",
            "as many sizes for each level",
        ),
        ("anchor_ratios: [[1], [2], [1], [1], [1]]", "the same ratios on all levels"),
        ("anchor_ratios: [1, 2]", "configured as 2, but the weights have 3"),
        ("rpn_score_thresh: 1.1", "rpn_score_thresh=1.1"),
        (
            "anchor_sizes: [[8], [16], [32]]",
            "rpn_anchor_generator.sizes is configured as 3, but the weights have 5",
        ),
        ("fixed_size: [512, 512]", "fixed_size"),
        ("num_classes: 3", "num_classes is configured as 3, but the weights have 7"),
        ("min_size: [640, 800]", "min_size=[640, 800]"),
        ("box_score_thresh: null", "box_score_thresh=None"),
        ("imgsz: 640", "no such key: imgsz"),
        ("backbone: resnet101", "no such key: backbone"),
        ("rpn_anchor_generator: AnchorGenerator()", "the nearest is rpn_anchor_generator.sizes"),
        ("size_divisible: 64", "size_divisible=64"),
    ],
)
def test_a_key_that_is_not_computed_is_refused(config: str, said: str, tmp_path: Path) -> None:
    (problem,) = probe(tmp_path, config).problems
    assert said in problem


@pytest.mark.parametrize(
    "config", ["lr: 0.005\nepochs: 26", "rpn_fg_iou_thresh: 0.8", "weights: DEFAULT"]
)
def test_what_only_training_needs_is_passed_over(config: str, tmp_path: Path) -> None:
    assert not probe(tmp_path, config).problems


@pytest.mark.parametrize(
    "config", ["wandb: {project: nuts}", "test: {min_size: 9}", "augmentation: {flip: 0.5}"]
)
def test_a_section_of_another_program_is_named_in_a_note(config: str, tmp_path: Path) -> None:
    found = probe(tmp_path, config)
    assert not found.problems
    assert found.notes[0].startswith("config.yaml: not known here, and passed over: ")


def test_weights_that_are_no_numbers_are_refused_without_loading(tmp_path: Path) -> None:
    shutil.copy(TESTS / "faulty/nan.pth", tmp_path / "model.pth")
    with pytest.raises(InvalidModel, match="1 variables hold NaN"):
        TorchvisionBackend().check_weights(ModelConfig(model_dir=tmp_path))

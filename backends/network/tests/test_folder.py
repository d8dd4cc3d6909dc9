import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from maskrcnn_network.architecture import Architecture, Convs
from maskrcnn_network.folder import ModelFolder, read_folder
from maskrcnn_network.tensorpack_config import TensorPackConfig
from maskrcnn_server.backend import ModelConfig
from maskrcnn_server.errors import InvalidModel, InvalidSetting

TINY = Architecture(
    blocks=(1, 2, 1, 1),
    stem=4,
    widths=((2, 8), (3, 8), (4, 16), (5, 16)),
    pyramid=6,
    rpn=Convs(1, 7, norm="none"),
    anchors=3,
    group_norm=False,
    pyramid_norm="none",
    cascade=False,
    box_convs=Convs(0, 256, norm="none"),
    fc=(("fc6", 9), ("fc7", 10)),
    classes=2,
    has_masks=True,
    mask_convs=Convs(4, 8, norm="none"),
    mask=8,
)

Change = Callable[[dict[str, np.ndarray]], object]


def write(folder: Path, architecture: Architecture = TINY, change: Change | None = None) -> Path:
    values = {n: np.zeros(s, np.float16) for n, s in architecture.variables().items()}
    if change is not None:
        change(values)
    np.savez(folder / "model-3.npz", allow_pickle=False, **values)
    return folder


def read(model_dir: Path, overrides: dict[str, str]) -> ModelFolder[TensorPackConfig]:
    return read_folder(
        ModelConfig(model_dir=model_dir, overrides=overrides), "channel last", TensorPackConfig
    )


def test_every_number_is_read_off_the_weights(tmp_path: Path) -> None:
    folder = read(write(tmp_path), {})
    assert folder.architecture == TINY
    assert folder.problems == []
    assert folder.facts["step"] == "3"


def test_model_without_mask_head_is_recognised(tmp_path: Path) -> None:
    boxes_only = replace(TINY, has_masks=False, mask_convs=Convs(0, 256, norm="none"), mask=256)
    folder = read(write(tmp_path, boxes_only), {})
    assert not folder.architecture.has_masks
    assert folder.problems == []
    assert folder.facts["heads"] == "boxes only"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda v: v.pop("fpn/lateral_1x1_c3/b"), "1 variable missing: fpn/lateral_1x1_c3/b"),
        (lambda v: v.pop("fastrcnn/outputs/class/W"), "missing: fastrcnn/outputs/class/W"),
        (
            lambda v: v.update({"rpn/box/W": np.zeros((1, 1, 7, 11))}),
            r"rpn/box/W is \(1, 1, 7, 11\), expected \(1, 1, 7, 12\)",
        ),
        (
            lambda v: v.update({"conv1/W": np.zeros(4), "rpn/conv9/W": np.zeros(4)}),
            "unexpected: rpn/conv9/W",
        ),
    ],
    ids=["missing", "missing classes", "misshapen", "surplus"],
)
def test_wrong_variables_are_listed(tmp_path: Path, change: Change, message: str) -> None:
    (problem, *_) = read(write(tmp_path, change=change), {}).problems
    assert re.search(message, problem)
    assert problem.startswith("model-3.npz: ")


def test_block_of_a_huge_number_is_surplus(tmp_path: Path) -> None:
    name = "group0/block999999999/conv1/W"
    (problem,) = read(write(tmp_path, change=lambda v: v.update({name: np.zeros(1)})), {}).problems
    assert f"unexpected: {name}" in problem


def test_weights_that_are_no_numbers_are_refused(tmp_path: Path) -> None:
    """A training that diverged is not served."""

    def diverge(values: dict[str, np.ndarray]) -> None:
        values["maskrcnn/conv/W"] += np.nan
        values["fastrcnn/fc6/W"] += np.inf

    folder = read(write(tmp_path, change=diverge), {})
    with pytest.raises(InvalidModel, match="2 variables hold NaN or infinity"):
        folder.variables()


def test_threshold_below_which_the_network_keeps_nothing_is_a_floor(tmp_path: Path) -> None:
    overrides = {"TEST.RESULT_SCORE_THRESH": "0.9", "TEST.RESULT_SCORE_THRESH_VIS": "0.3"}
    folder = read(write(tmp_path), overrides)
    assert folder.metadata("any", 0.5, asked=None).score_threshold == 0.9
    assert folder.metadata("any", 0.5, asked=0.01).score_threshold == 0.01


@pytest.mark.parametrize("content", [b"\xef\xbb\xbfBG\r\ncat\r\ndog\r\n", b"cat\ndog"])
def test_class_names_of_any_editor_are_read(tmp_path: Path, content: bytes) -> None:
    (write(tmp_path) / "classes.txt").write_bytes(content)
    assert [c.name for c in read(tmp_path, {}).categories] == ["cat", "dog"]


def test_class_names_in_another_encoding_are_refused(tmp_path: Path) -> None:
    (write(tmp_path) / "classes.txt").write_bytes(b"caf\xe9\ndog")
    with pytest.raises(InvalidModel, match=r"classes\.txt: not UTF-8"):
        read(tmp_path, {})


def test_what_an_optimizer_leaves_is_ignored(tmp_path: Path) -> None:
    leftovers = ("global_step", "learning_rate", "conv0/W/Momentum", "EMA/loss/biased")
    folder = read(
        write(tmp_path, change=lambda v: v.update({n: np.zeros(1) for n in leftovers})), {}
    )
    assert folder.problems == []


def test_other_weights_are_no_mask_rcnn(tmp_path: Path) -> None:
    np.savez(tmp_path / "model.npz", allow_pickle=False, dense=np.zeros(3))
    with pytest.raises(InvalidModel, match=r"no variables of a Mask R-CNN; it contains dense"):
        read(tmp_path, {})


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("classes.txt", "cat\ndog\n\n"),
        ("classes.txt", "BG\ncat\ndog\n"),
        ("config.yaml", "class_names: [BG, cat, dog]"),
        ("config.yaml", "DATA: {CLASS_NAMES: [cat, dog]}"),
        ("config.yaml", "config_inference: {DATA.CLASS_NAMES: [cat, dog]}"),
    ],
    ids=["text", "text with background", "class_names", "nested key", "inference section"],
)
def test_class_names_come_from_the_folder(tmp_path: Path, file: str, content: str) -> None:
    (write(tmp_path) / file).write_text(content)
    folder = read(tmp_path, {})
    assert [(c.id, c.name, c.dataset_id) for c in folder.categories] == [
        (1, "cat", 1),
        (2, "dog", 2),
    ]
    assert folder.notes == []


def test_unnamed_classes_are_numbered_and_that_is_noted(tmp_path: Path) -> None:
    folder = read(write(tmp_path), {})
    assert [c.name for c in folder.categories] == ["class_1", "class_2"]
    assert "numbered" in folder.notes[0]


def test_eighty_unnamed_classes_are_assumed_to_be_cocos(tmp_path: Path) -> None:
    folder = read(write(tmp_path, replace(TINY, classes=80)), {})
    assert (folder.categories[-1].name, folder.categories[-1].dataset_id) == ("toothbrush", 90)
    assert "assumed to be COCO's" in folder.notes[0]


def test_wrong_number_of_class_names_is_a_problem(tmp_path: Path) -> None:
    (write(tmp_path) / "classes.txt").write_text("cat\n")
    (problem,) = read(tmp_path, {}).problems
    assert "classes.txt names 1 classes, but the weights have 2" in problem


def test_override_wins_over_the_file(tmp_path: Path) -> None:
    (write(tmp_path) / "config.yaml").write_text("TEST: {RESULTS_PER_IM: 5, FRCNN_NMS_THRESH: 0.4}")
    config = read(tmp_path, {"TEST.RESULTS_PER_IM": "7"}).config
    assert (config.detections, config.detection_nms_threshold) == (7, 0.4)


def test_configuration_that_contradicts_the_weights_is_a_problem(tmp_path: Path) -> None:
    folder = read(write(tmp_path), {"FPN.NUM_CHANNEL": "256"})
    assert "FPN.NUM_CHANNEL is configured as 256, but the weights have 6" in folder.problems[0]


def test_keys_of_training_are_accepted(tmp_path: Path) -> None:
    (write(tmp_path) / "config.yaml").write_text("TRAIN: {BASE_LR: 0.01}\nTRAINER: horovod")
    assert read(tmp_path, {}).problems == []


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"TEST.RESULTS_PER_IM": "[1"}, "CONFIG__TEST__RESULTS_PER_IM=.*not a YAML literal"),
        ({"TEST.RESULTS_PER_IM": "many"}, "CONFIG__TEST__RESULTS_PER_IM: .*valid integer"),
        ({"TEST.RESULTS_PER_IM": "0"}, "greater than 0"),
        (
            {"RPN.MIN_SIZE": "-2"},
            r"CONFIG__RPN__MIN_SIZE: RPN.MIN_SIZE=-2: Input should be greater",
        ),
        ({"TEST.RESULTS_PER_IM": "&a [*a]"}, "not a YAML literal"),
        ({"PREPROC.MAXSIZE": "1"}, r"PREPROC.MAXSIZE; the nearest is PREPROC.MAX_SIZE"),
        ({"TEST.RESULTS_PER_IM": "__import__('os').system('x')"}, "valid integer"),
    ],
    ids=["syntax", "type", "range", "negative", "alias", "unknown", "code"],
)
def test_bad_override_is_named_with_its_rule(
    tmp_path: Path, overrides: dict[str, str], message: str
) -> None:
    with pytest.raises(InvalidSetting, match=message):
        read(write(tmp_path), overrides)


@pytest.mark.parametrize("content", ["[1, 2]", "a: [", "\x00"], ids=["list", "syntax", "binary"])
def test_config_file_that_is_no_configuration_is_refused(tmp_path: Path, content: str) -> None:
    (write(tmp_path) / "config.yaml").write_text(content)
    with pytest.raises(InvalidModel, match=r"config\.yaml: "):
        read(tmp_path, {})


def test_long_edge_is_rounded_as_finalize_configs_does(tmp_path: Path) -> None:
    assert read(write(tmp_path), {}).config.long_edge == 1344


def backbone(folder: Path, name: str) -> None:
    folder.mkdir(exist_ok=True)
    values = {
        n: np.zeros(s) for n, s in TINY.variables().items() if n.startswith(("conv0", "group"))
    }
    np.savez(folder / name, allow_pickle=False, **values)


@pytest.mark.parametrize(
    "name",
    [
        "ImageNet-R50-AlignPadding.npz",
        "ImageNet-R101-GN.npz",
        "a.npz",
        "zzz-9999999.npz",
        "model-3.backbone.npz",
    ],
)
def test_a_backbone_next_to_the_checkpoint_is_named_and_not_served(
    tmp_path: Path, name: str
) -> None:
    backbone(write(tmp_path), name)
    folder = read(tmp_path, {})
    assert folder.problems == []
    assert folder.facts["checkpoint"] == "model-3.npz"
    assert folder.notes[0] == f"model-3.npz is served, not {name}"


def test_older_checkpoints_are_named(tmp_path: Path) -> None:
    shutil.copy(write(tmp_path) / "model-3.npz", tmp_path / "model-2.npz")
    assert read(tmp_path, {}).notes[0] == "model-3.npz is served, not model-2.npz"

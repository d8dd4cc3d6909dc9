"""Configurations that Detectron2's `LazyConfig.save` wrote are data."""

import shutil
from pathlib import Path

import pytest

from maskrcnn_detectron2 import lazy_config
from maskrcnn_detectron2.backend import Detectron2Backend
from maskrcnn_server.backend import ModelConfig
from maskrcnn_server.errors import InvalidModel
from maskrcnn_server.yaml_file import NotYaml

TESTS = Path(__file__).parent
CASCADE = (TESTS / "configurations/lazy_cascade.yaml").read_text()
"""`common/models/cascade_rcnn.py`, as saved."""


def read(folder: Path, text: str) -> dict[str, object]:
    (folder / "config.yaml").write_text(text)
    found = lazy_config.read(folder / "config.yaml")
    assert isinstance(found, dict)
    return found


def test_arguments_become_classic_keys() -> None:
    """The network of `new_baselines/mask_rcnn_R_101_FPN_400ep_LSJ.py`."""
    found = lazy_config.read(TESTS / "configurations/lazy_lsj.yaml")
    expected = {
        "MODEL.RESNETS.DEPTH": 101,
        "MODEL.RESNETS.NORM": "SyncBN",
        "MODEL.RESNETS.STRIDE_IN_1X1": True,
        "MODEL.FPN.IN_FEATURES": ["res2", "res3", "res4", "res5"],
        "MODEL.FPN.NORM": "SyncBN",
        "MODEL.RPN.PRE_NMS_TOPK_TEST": 1000,
        "MODEL.ROI_HEADS.NAME": "StandardROIHeads",
        "MODEL.ROI_HEADS.NUM_CLASSES": 80,
        "MODEL.ROI_BOX_HEAD.NUM_CONV": 4,
        "MODEL.ROI_BOX_HEAD.FC_DIM": 1024,
        "MODEL.ROI_BOX_HEAD.BBOX_REG_WEIGHTS": [10, 10, 5, 5],
        "MODEL.MASK_ON": True,
        "INPUT.FORMAT": "BGR",
        "INPUT.MIN_SIZE_TEST": 800,
        "INPUT.MAX_SIZE_TEST": 1333,
    }
    assert {key: found[key] for key in expected} == expected
    assert "MODEL.ROI_BOX_HEAD.NORM" not in found, "its norm is a function without a name"
    assert not found.keys() & {"model", "train", "optimizer", "dataloader"}


def test_each_head_of_a_cascade_has_its_own_weights(tmp_path: Path) -> None:
    found = read(tmp_path, CASCADE)
    assert found["MODEL.ROI_HEADS.NAME"] == "CascadeROIHeads"
    weights = found["MODEL.ROI_BOX_CASCADE_HEAD.BBOX_REG_WEIGHTS"]
    assert weights == [[10, 10, 5, 5], [20, 20, 10, 10], [30, 30, 15, 15]]


def test_what_is_missing_has_the_default_of_its_class(tmp_path: Path) -> None:
    text = CASCADE.replace(", stride_in_1x1: true", "").replace("      offset: 0.0\n", "")
    found = read(tmp_path, text.replace("test_score_thresh: 0.05", "test_nms_thresh: 0.4"))
    assert found["MODEL.RESNETS.STRIDE_IN_1X1"] is False
    assert found["MODEL.ANCHOR_GENERATOR.OFFSET"] == 0.5
    assert found["MODEL.ROI_HEADS.SCORE_THRESH_TEST"] == 0.0
    assert found["MODEL.ROI_HEADS.NMS_THRESH_TEST"] == 0.4


def test_keys_beside_the_sections_are_kept(tmp_path: Path) -> None:
    found = read(tmp_path, f"{CASCADE}\nclass_names: [nut, bolt]\n")
    assert found["class_names"] == ["nut", "bolt"]


def test_a_regnet_is_refused_by_name() -> None:
    with pytest.raises(InvalidModel, match=r"detectron2\.modeling\.backbone\.RegNet"):
        lazy_config.read(TESTS / "configurations/lazy_regnety.yaml")


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (
            "detectron2.modeling.GeneralizedRCNN",
            "nuts.GeneralizedRCNN",
            "model is made by nuts.GeneralizedRCNN; only Detectron2's GeneralizedRCNN",
        ),
        ("CascadeROIHeads", "MyHeads", "model.roi_heads is made by detectron2.modeling"),
        ("LastLevelMaxPool", "LastLevelP6P7", "model.backbone.top_block is made by"),
        ("nms_thresh: 0.7", "soft_nms: 0.7", "model.proposal_generator.soft_nms is not computed"),
        ("  roi_heads:", "  roi_head:", "model.roi_head is not computed"),
        (".ResizeShortestEdge, ", ".Resize, ", "augmentations.0 is made by"),
        (
            "num_classes: ${...num_classes}",
            "num_classes: ${oc.env:HOME}",
            "is ${oc.env:HOME}, which is not read",
        ),
        ("num_classes: ${...num_classes}", "num_classes: 3", "which MODEL.ROI_HEADS.NUM_CLASSES"),
        ("depth: 50", "depth: '${.depth}'", "is one of too many references"),
        ("{_target_: detectron2.modeling.backbone.BasicStem, ", "{1: 2, ", "stem is made by None"),
        ("input_format: BGR", "7: BGR", "model.7 is not computed"),
    ],
)
def test_what_is_not_computed_is_refused(old: str, new: str, said: str, tmp_path: Path) -> None:
    text = CASCADE.replace(old, new)
    assert text != CASCADE
    with pytest.raises(InvalidModel) as caught:
        read(tmp_path, text)
    assert said in str(caught.value)


def test_heads_are_needed(tmp_path: Path) -> None:
    target = "detectron2.modeling.GeneralizedRCNN"
    with pytest.raises(InvalidModel, match=r"model\.roi_heads is missing"):
        read(tmp_path, f"model: {{_target_: {target}}}")


@pytest.mark.parametrize(
    "value",
    [
        "!!python/object/apply:os.system [touch made]",
        "!!python/object/new:os.system [touch made]",
        "!!python/module:os",
    ],
)
def test_nothing_is_executed(value: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(NotYaml):
        read(tmp_path, f"{CASCADE}\nnuts: {value}\n")
    assert [path.name for path in tmp_path.iterdir()] == ["config.yaml"]


def test_the_weights_are_checked_against_it(tmp_path: Path) -> None:
    shutil.copy(TESTS / "checkpoints/with_loss.pth", tmp_path / "model_final.pth")
    shutil.copy(TESTS / "configurations/lazy_cascade.yaml", tmp_path / "config.yaml")
    found = Detectron2Backend().probe(ModelConfig(model_dir=tmp_path))
    assert found is not None
    said = "MODEL.ROI_HEADS.NAME is configured as CascadeROIHeads, but the weights have Standard"
    assert any(said in problem for problem in found.problems)

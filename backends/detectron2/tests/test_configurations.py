"""Configurations as Detectron2 and the people who use it write them."""

import shutil
from pathlib import Path

import pytest

from maskrcnn_detectron2.backend import Detectron2Backend
from maskrcnn_server.backend import ModelConfig, Probe

TESTS = Path(__file__).parent


def probe(folder: Path, **files: str) -> Probe:
    """What the backend says of a network of 80 classes with these configurations."""
    shutil.copy(TESTS / "checkpoints/with_loss.pth", folder / "model_final.pth")
    for name, content in files.items():
        (folder / f"{name}.yaml").write_text(content)
    found = Detectron2Backend().probe(ModelConfig(model_dir=folder))
    assert found is not None
    return found


@pytest.mark.parametrize(
    "config",
    [
        (TESTS / "configurations/dumped.yaml").read_text().replace("    DEPTH: 50\n", ""),
        (TESTS / "configurations/aliases.yaml").read_text(),
        "A: &a [1.0, 1.0, 1.0, 1.0]\nMODEL: {RPN: {BBOX_REG_WEIGHTS: *a}}",
        "MODEL: {ANCHOR_GENERATOR: {ASPECT_RATIOS: [&r [0.5, 1.0, 2.0], *r, *r, *r, *r]}}",
        "_A: &common {MASK_ON: true}\nMODEL: {<<: *common, LOAD_PROPOSALS: false}",
        "MODEL: {RPN: &same {NMS_THRESH: 0.7}}\nMY: {RPN: *same, AGAIN: [*same, *same]}",
        "MODEL: {ROI_HEADS: {IN_FEATURES: [p2, p3, p4, p5]}}",
    ],
    ids=["dumped", "case", "vector", "list of aliases", "merge", "section", "default features"],
)
def test_a_configuration_is_read(config: str, tmp_path: Path) -> None:
    assert not probe(tmp_path, config=config).problems


@pytest.mark.parametrize(
    ("config", "said"),
    [
        (
            "MODEL: {ROI_HEADS: {IN_FEATURES: [p2]}}",
            "ROI_HEADS.IN_FEATURES is configured as ('p2',),",
        ),
        ("MODEL: {RPN: {IN_FEATURES: [p3, p4]}}", "RPN.IN_FEATURES is configured as ('p3', 'p4')"),
        ("MODEL: {FPN: {IN_FEATURES: [res3, res4, res5]}}", "MODEL.FPN.IN_FEATURES"),
        ("MODEL: {RPN: {HEAD_NAME: MyHead}}", "MODEL.RPN.HEAD_NAME='MyHead'"),
        (
            "MODEL: {RPN: {NMS_THRES: 0.6}}",
            "no such key: MODEL.RPN.NMS_THRES; the nearest is",
        ),
        ("INPUT: {MIN_SIZE_TETS: 600}", "the nearest is INPUT.MIN_SIZE_TEST"),
        ("MODEL: {ROI_HEADS: {NMS_TRESH_TEST: 0.3}}", "the nearest is MODEL.ROI_HEADS.NMS_THRESH_"),
        ("TEST: {DETECTION_PER_IMAGE: 30}", "the nearest is TEST.DETECTIONS_PER_IMAGE"),
        ("MODLE: {MASK_ON: true}", "no such key: MODLE.MASK_ON"),
        (
            "MODEL: {ANCHOR_GENERATOR: {SIZES: [[32, 64], [1], [2], [3], [4]]}}",
            "as many sizes for each",
        ),
        ("model: {_target_: nuts.Model}", "model is made by nuts.Model; only Detectron2's"),
        ("MODEL: {ROI_BOX_HEAD: {NAME: MyHead}}", "MODEL.ROI_BOX_HEAD.NAME='MyHead'"),
        (
            "MODEL: {RESNETS: {NORM: GN}}",
            "configured as GN, but the weights have batch",
        ),
        ("MODEL: {FPN: {NORM: GN}}", "configured as GN, but the weights have none"),
        (
            "MODEL: {ROI_MASK_HEAD: {NORM: BN}}",
            "configured as BN, but the weights have none",
        ),
        ("MODEL: {ROI_MASK_HEAD: {NUM_CONV: 8}}", "configured as 8, but the weights have 4"),
        ("MODEL: {ROI_BOX_HEAD: {NUM_CONV: 4}}", "configured as 4, but the weights have 0"),
        (
            "MODEL: {RESNETS: {RES5_DILATION: 2}}",
            "configured as 2, but the weights have 1",
        ),
        ("MODEL: {META_ARCHITECTURE: PanopticFPN}", "META_ARCHITECTURE='PanopticFPN'"),
        ("Model: {PIXEL_MEAN: [0, 0, 0]}", "Model.PIXEL_MEAN; the nearest is MODEL.PIXEL_MEAN"),
        ("MODEL: {pixel_mean: [0, 0, 0]}", "the nearest is MODEL.PIXEL_MEAN"),
        ("model: {pixel_mean: [0, 0, 0]}", "the nearest is MODEL.PIXEL_MEAN"),
        ("mask_on: true", "no such key: mask_on; the nearest is MODEL.MASK_ON"),
        ("class_name: [a]", "no such key: class_name; the nearest is"),
    ],
)
def test_a_configuration_that_is_not_computed_is_refused(
    config: str, said: str, tmp_path: Path
) -> None:
    (problem,) = probe(tmp_path, config=config).problems
    assert said in problem


@pytest.mark.parametrize(
    "config",
    [
        "MY_PROJECT: {LR: 0.1}",
        "WANDB: {PROJECT: nuts, ENTITY: {NAME: me}}",
        "MODEL: {POINT_HEAD: {NUM_FC: 3}}",
        "INPUT: {MOSAIC: true}",
        "experiment: nuts and bolts",
        "EXPERIMENT: nuts and bolts",
        "TEST: {WRITE_IMAGES: true}",
    ],
)
def test_what_a_project_adds_is_named_in_a_note(config: str, tmp_path: Path) -> None:
    found = probe(tmp_path, config=config)
    assert not found.problems
    assert found.notes[0].startswith("config.yaml: not known here, and passed over: ")


def test_a_base_is_read_from_the_folder(tmp_path: Path) -> None:
    base = "INPUT: {MIN_SIZE_TEST: 512, MAX_SIZE_TEST: 900}"
    own = "_BASE_: ../Base.yaml\nINPUT: {MAX_SIZE_TEST: 700}"
    found = probe(tmp_path, Base=base, config=own)
    assert found.facts["resize"] == "short edge 512, long edge at most 700 pixels"


@pytest.mark.parametrize("base", ["../Base-RCNN-FPN.yaml", "/etc/passwd", "config.yaml", "[1]"])
def test_a_base_that_is_not_there_is_named_in_a_note(base: str, tmp_path: Path) -> None:
    found = probe(tmp_path, config=f"_BASE_: {base}")
    assert not found.problems
    assert "is based on" in found.notes[0]


@pytest.mark.parametrize("name", ["cfg", "mask_rcnn_R_50_FPN_3x", "model", "train", "output"])
def test_a_configuration_of_another_name_is_named_in_a_note(name: str, tmp_path: Path) -> None:
    found = probe(tmp_path, **{name: "MODEL: {MASK_ON: true}"})
    assert found.notes[0] == f"not read: {name}.yaml; rename the one that is meant to config.yaml"


def test_config_yml_is_read(tmp_path: Path) -> None:
    (tmp_path / "config.yml").write_text("INPUT: {MIN_SIZE_TEST: 512}")
    assert "INPUT.MIN_SIZE_TEST=512" in probe(tmp_path).facts["from config.yml"]

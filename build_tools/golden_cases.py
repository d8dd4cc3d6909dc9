"""The networks of `make_golden_thin.py`: each a model, its configuration, and what runs it."""

from collections.abc import Callable
from functools import partial
from typing import Any

from make_golden_pytorch import Run, run_detectron2

Case = tuple[Any, str, Run]
"""Model, configuration as text, and what runs it on an image."""

THIN = """\
INPUT: {MIN_SIZE_TEST: 150, MAX_SIZE_TEST: 300}
TEST: {DETECTIONS_PER_IMAGE: 30}
MODEL:
  MASK_ON: true
  RPN: {PRE_NMS_TOPK_TEST: 80, POST_NMS_TOPK_TEST: 60}
  RESNETS: {STEM_OUT_CHANNELS: 8, RES2_OUT_CHANNELS: 16, WIDTH_PER_GROUP: 4}
  ROI_HEADS: {NUM_CLASSES: 4}
"""
ANCHORS = "[[8], [16], [32], [64], [128]]"
FPN = f"""\
MODEL:
  BACKBONE: {{NAME: build_resnet_fpn_backbone}}
  RESNETS: {{OUT_FEATURES: [res2, res3, res4, res5]}}
  FPN: {{IN_FEATURES: [res2, res3, res4, res5], OUT_CHANNELS: 32}}
  ANCHOR_GENERATOR: {{SIZES: {ANCHORS}, ASPECT_RATIOS: [[0.5, 1.0, 2.0]]}}
  RPN: {{IN_FEATURES: [p2, p3, p4, p5, p6]}}
  ROI_HEADS: {{NAME: StandardROIHeads, IN_FEATURES: [p2, p3, p4, p5]}}
  ROI_BOX_HEAD: {{NAME: FastRCNNConvFCHead, NUM_FC: 2, FC_DIM: 32, POOLER_RESOLUTION: 7}}
  ROI_MASK_HEAD:
    {{NAME: MaskRCNNConvUpsampleHead, NUM_CONV: 2, CONV_DIM: 16, POOLER_RESOLUTION: 14}}
"""
ONE_MAP = """\
MODEL:
  ANCHOR_GENERATOR: {SIZES: [[16, 32, 64, 96, 128]], ASPECT_RATIOS: [[0.5, 1.0, 2.0]]}
  ROI_MASK_HEAD: {NAME: MaskRCNNConvUpsampleHead, CONV_DIM: 16}
"""
C4 = ONE_MAP + "  ROI_HEADS: {NAME: Res5ROIHeads}\n"
DC5 = (
    ONE_MAP
    + """\
  RESNETS: {OUT_FEATURES: [res5], RES5_DILATION: 2}
  RPN: {IN_FEATURES: [res5]}
  ROI_HEADS: {NAME: StandardROIHeads, IN_FEATURES: [res5]}
  ROI_BOX_HEAD: {NAME: FastRCNNConvFCHead, NUM_FC: 2, FC_DIM: 32, POOLER_RESOLUTION: 7}
"""
)
RESNEXT = """\
MODEL:
  PIXEL_STD: [57.375, 57.12, 58.395]
  RESNETS: {NUM_GROUPS: 8, WIDTH_PER_GROUP: 2, STRIDE_IN_1X1: false}
"""
CASCADE = """\
MODEL:
  ROI_HEADS: {NAME: CascadeROIHeads}
  ROI_BOX_HEAD: {CLS_AGNOSTIC_BBOX_REG: true}
"""
AGNOSTIC = """\
MODEL:
  ROI_BOX_HEAD: {CLS_AGNOSTIC_BBOX_REG: true}
  ROI_MASK_HEAD: {CLS_AGNOSTIC_MASK: true}
"""
GROUP_NORM = """\
MODEL:
  RESNETS:
    {
      NORM: GN,
      STRIDE_IN_1X1: false,
      STEM_OUT_CHANNELS: 32,
      RES2_OUT_CHANNELS: 32,
      WIDTH_PER_GROUP: 32,
    }
  FPN: {NORM: GN}
  ROI_BOX_HEAD: {NUM_CONV: 2, NUM_FC: 1, CONV_DIM: 32, NORM: GN}
  ROI_MASK_HEAD: {CONV_DIM: 32, NORM: GN}
"""
BOXES = "MODEL: {MASK_ON: false}\n"
SEVERAL_ANCHORS = """\
MODEL:
  ANCHOR_GENERATOR:
    SIZES: [[8, 12], [16, 24], [32, 48], [64, 96], [128, 160]]
    ASPECT_RATIOS: [[0.5, 1.0, 2.0]]
"""


def detectron2(*parts: str) -> Case:
    """Detectron2's thin model with these configurations, one over the other."""
    from detectron2.config import CfgNode, get_cfg

    config = get_cfg()
    for part in (THIN, *parts):
        config.merge_from_other_cfg(CfgNode.load_cfg(part))
    return _detectron2(config)


def full_size(path: str) -> Case:
    """Detectron2's model with the configuration in a file of its `configs` folder."""
    from detectron2.config import get_cfg

    config = get_cfg()
    config.merge_from_file(path)
    return _detectron2(config)


def _detectron2(config: Any) -> Case:
    from detectron2.modeling import build_model

    config.MODEL.DEVICE, config.MODEL.WEIGHTS = "cpu", ""
    model = build_model(config)
    return model, config.dump(), run_detectron2(model, config)


CASES: dict[str, Callable[[], Case]] = {
    "detectron2-fpn": partial(detectron2, FPN),
    "detectron2-resnext": partial(detectron2, FPN, RESNEXT),
    "detectron2-c4": partial(detectron2, C4),
    "detectron2-dc5": partial(detectron2, DC5),
    "detectron2-cascade": partial(detectron2, FPN, CASCADE),
    "detectron2-agnostic": partial(detectron2, FPN, AGNOSTIC),
    "detectron2-gn": partial(detectron2, FPN, GROUP_NORM),
    "detectron2-boxes": partial(detectron2, FPN, BOXES),
    "detectron2-anchors": partial(detectron2, FPN, SEVERAL_ANCHORS),
}

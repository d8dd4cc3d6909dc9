"""The networks of `make_golden_thin.py`: each a model, its configuration, and what runs it."""

import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from make_golden_pytorch import Run, run_detectron2, run_torchvision

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


def lazy(name: str) -> Case:
    """A thin model of one of Detectron2's configurations in Python, as `LazyConfig` saves it.

    The groups of its ResNet are thin, which only the weights show.
    """
    import detectron2
    from detectron2.config import LazyConfig, instantiate
    from detectron2.layers import ShapeSpec
    from detectron2.modeling.backbone import BottleneckBlock, ResNet

    configs = Path(str(detectron2.__file__)).parent / "model_zoo/configs"
    config = LazyConfig.load(str(configs / name))
    model = config.model
    model.backbone.bottom_up.stem.out_channels = 8
    model.backbone.out_channels = 32
    model.proposal_generator.head.in_channels = 32
    model.proposal_generator.anchor_generator.sizes = [[8], [16], [32], [64], [128]]
    model.proposal_generator.pre_nms_topk = (100, 80)
    model.proposal_generator.post_nms_topk = (100, 60)
    roi_heads = model.roi_heads
    roi_heads.num_classes = 4
    roi_heads.box_head.input_shape = ShapeSpec(channels=32, height=7, width=7)
    roi_heads.box_head.conv_dims = [32] * len(roi_heads.box_head.conv_dims)
    roi_heads.box_head.fc_dims = [32] * len(roi_heads.box_head.fc_dims)
    roi_heads.box_predictor.input_shape = ShapeSpec(channels=32)
    roi_heads.box_predictor.test_topk_per_image = 30
    roi_heads.mask_head.input_shape = ShapeSpec(channels=32, height=14, width=14)
    roi_heads.mask_head.conv_dims = [16, 16, 16]
    (resize,) = config.dataloader.test.mapper.augmentations
    resize.short_edge_length, resize.max_size = 150, 300
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "config.yaml"
        LazyConfig.save(config, str(path))
        text = path.read_text()
    stages = model.backbone.bottom_up.stages
    widths = zip((4, 8, 16, 32), (8, 16, 32, 64), (16, 32, 64, 128), (3, 4, 6, 3), strict=True)
    model.backbone.bottom_up.stages = [
        ResNet.make_stage(
            BottleneckBlock,
            count,
            stride_per_block=[1 if i == 0 else 2, *[1] * (count - 1)],
            in_channels=before,
            bottleneck_channels=width,
            out_channels=after,
            stride_in_1x1=stages.stride_in_1x1,
            norm=stages.norm,
        )
        for i, (width, before, after, count) in enumerate(widths)
    ]
    built = instantiate(model)
    size = SimpleNamespace(MIN_SIZE_TEST=150, MAX_SIZE_TEST=300)
    return built, text, run_detectron2(built, SimpleNamespace(INPUT=size))


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


TORCHVISION = """\
min_size: 150
max_size: 300
rpn_pre_nms_top_n_test: 80
rpn_post_nms_top_n_test: 60
box_detections_per_img: 30
rpn_anchor_generator:
  sizes: {sizes}
  aspect_ratios: [[0.5, 1.0, 2.0]]
"""
SIZES = [[8], [16], [32], [64], [128]]
MOBILE_SIZES = [[32, 64, 96, 128, 192]]
SEVERAL_SIZES = [[8, 12], [16, 24], [32, 48], [64, 96], [128, 160]]


MOBILENET = """\
min_size: 300
max_size: 600
rpn_pre_nms_top_n_test: 80
rpn_post_nms_top_n_test: 60
rpn_score_thresh: 0.75
box_detections_per_img: 30
rpn_anchor_generator: {{sizes: {sizes}, aspect_ratios: [[0.5, 1.0, 2.0]]}}
"""


def mobilenet(
    name: str, *, sizes: list[list[int]], masks: bool = True, returned: list[int] | None = None
) -> Case:
    """torchvision's model of four classes with a thin MobileNet, made as its own functions make it.

    Its batch norms keep the epsilon of `FrozenBatchNorm2d`. Pictures keep their size, since so many
    layers enlarge what rounding changes in resized ones.
    """
    from torchvision.models import detection, mobilenet
    from torchvision.models.detection import backbone_utils, faster_rcnn, mask_rcnn
    from torchvision.models.detection.rpn import AnchorGenerator
    from torchvision.ops.misc import FrozenBatchNorm2d

    thin = getattr(mobilenet, name)(width_mult=0.25, norm_layer=FrozenBatchNorm2d)
    backbone = backbone_utils._mobilenet_extractor(thin, True, 6, returned)
    backbone.fpn = type(backbone.fpn)(
        [block[0].in_channels for block in backbone.fpn.inner_blocks],
        32,
        backbone_utils.LastLevelMaxPool(),
    )
    backbone.out_channels = 32
    levels = len(backbone.fpn.inner_blocks) + 1
    every = sizes * levels if len(sizes) == 1 else sizes
    options: dict[str, Any] = {
        "min_size": 300,
        "max_size": 600,
        "rpn_pre_nms_top_n_test": 80,
        "rpn_post_nms_top_n_test": 60,
        "rpn_score_thresh": 0.75,
        "box_detections_per_img": 30,
        "rpn_anchor_generator": AnchorGenerator(
            tuple(map(tuple, every)), ((0.5, 1.0, 2.0),) * levels
        ),
        "box_head": faster_rcnn.TwoMLPHead(32 * 49, 32),
        "box_predictor": faster_rcnn.FastRCNNPredictor(32, 5),
    }
    if masks:
        options |= {
            "mask_head": mask_rcnn.MaskRCNNHeads(32, (16, 16), 1),
            "mask_predictor": mask_rcnn.MaskRCNNPredictor(16, 16, 5),
        }
    kind = detection.MaskRCNN if masks else detection.FasterRCNN
    model = kind(backbone, **options)
    return model, MOBILENET.format(sizes=sizes), run_torchvision(model)


def torchvision(
    *, sizes: list[list[int]] = SIZES, groups: int = 1, masks: bool = True, v2: bool = False
) -> Case:
    """torchvision's thin model of four classes; in `v2`, heads have convolutions and norms."""
    from torch import nn
    from torchvision.models import detection
    from torchvision.models.detection import faster_rcnn, mask_rcnn
    from torchvision.models.detection.backbone_utils import BackboneWithFPN
    from torchvision.models.detection.rpn import AnchorGenerator, RPNHead
    from torchvision.models.resnet import Bottleneck, ResNet

    body = ResNet(Bottleneck, [1, 1, 1, 1], groups=groups, width_per_group=64 // groups)
    body.inplanes = 8
    body.conv1, body.bn1 = nn.Conv2d(3, 8, 7, 2, 3, bias=False), nn.BatchNorm2d(8)
    widths = (8, 16, 24, 32)
    for i, width in enumerate(widths):
        layer = body._make_layer(Bottleneck, width, 2, stride=1 if i == 0 else 2)
        setattr(body, f"layer{i + 1}", layer)
    layers = {f"layer{i + 1}": str(i) for i in range(4)}
    norm = nn.BatchNorm2d if v2 else None
    channels = [4 * width for width in widths]
    backbone = BackboneWithFPN(body, layers, channels, 32, norm_layer=norm)
    anchors = AnchorGenerator(tuple(map(tuple, sizes)), ((0.5, 1.0, 2.0),) * 5)
    count = 3 * len(sizes[0])
    head = faster_rcnn.TwoMLPHead(32 * 49, 32)
    if v2:
        head = faster_rcnn.FastRCNNConvFCHead((32, 7, 7), [32, 32], [32], norm_layer=norm)
    options: dict[str, Any] = {
        "min_size": 150,
        "max_size": 300,
        "rpn_pre_nms_top_n_test": 80,
        "rpn_post_nms_top_n_test": 60,
        "box_detections_per_img": 30,
        "rpn_anchor_generator": anchors,
        "rpn_head": RPNHead(32, count, conv_depth=2 if v2 else 1),
        "box_head": head,
        "box_predictor": faster_rcnn.FastRCNNPredictor(32, 5),
    }
    kind = detection.FasterRCNN
    if masks:
        kind = detection.MaskRCNN
        options |= {
            "mask_head": mask_rcnn.MaskRCNNHeads(32, (16, 16), 1, norm_layer=norm),
            "mask_predictor": mask_rcnn.MaskRCNNPredictor(16, 16, 5),
        }
    model = kind(backbone, **options)
    return model, TORCHVISION.format(sizes=sizes), run_torchvision(model)


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
    "detectron2-lsj": partial(lazy, "new_baselines/mask_rcnn_R_50_FPN_100ep_LSJ.py"),
    "torchvision-anchors": partial(torchvision, sizes=SEVERAL_SIZES),
    "torchvision-boxes": partial(torchvision, masks=False),
    "torchvision-boxes_v2": partial(torchvision, masks=False, v2=True),
    "torchvision-mobilenet_boxes": partial(
        mobilenet, "mobilenet_v3_large", sizes=MOBILE_SIZES, masks=False
    ),
    "torchvision-mobilenet_small": partial(
        mobilenet, "mobilenet_v3_small", sizes=[[16], [32], [64], [128]], returned=[2, 3, 4]
    ),
    "torchvision-mobilenet_v2": partial(
        mobilenet, "mobilenet_v2", sizes=MOBILE_SIZES, returned=[2, 3, 4, 5]
    ),
    "torchvision-resnext": partial(torchvision, groups=2),
}

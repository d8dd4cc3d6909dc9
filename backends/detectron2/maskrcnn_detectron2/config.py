"""Detectron2's configuration, as training writes it to `config.yaml` next to its checkpoints.

Sources: detectron2/config/defaults.py, and configs/Base-RCNN-FPN.yaml for the defaults of networks
with a feature pyramid.
"""

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator
from typing_extensions import Self

from maskrcnn_detectron2 import lazy_config
from maskrcnn_network.anchor_lists import LevelRatios, LevelSizes
from maskrcnn_network.architecture import Architecture
from maskrcnn_network.config import Deviations, Means, NetworkConfig, Positive, Side, only
from maskrcnn_network.preparation import Triple

DEPTHS = {50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3)}
WITHOUT_EFFECT = frozenset(
    "VERSION CUDNN_BENCHMARK FLOAT32_PRECISION OUTPUT_DIR SEED VIS_PERIOD "
    "INPUT.MASK_FORMAT INPUT.MAX_SIZE_TRAIN INPUT.MIN_SIZE_TRAIN INPUT.MIN_SIZE_TRAIN_SAMPLING "
    "INPUT.RANDOM_FLIP MODEL.DEVICE MODEL.WEIGHTS MODEL.BACKBONE.FREEZE_AT "
    "MODEL.ANCHOR_GENERATOR.ANGLES MODEL.RESNETS.DEFORM_MODULATED "
    "MODEL.RESNETS.DEFORM_NUM_GROUPS MODEL.RESNETS.RES2_OUT_CHANNELS "
    "MODEL.RESNETS.STEM_OUT_CHANNELS MODEL.RESNETS.WIDTH_PER_GROUP "
    "MODEL.RPN.BATCH_SIZE_PER_IMAGE MODEL.RPN.BBOX_REG_LOSS_TYPE "
    "MODEL.RPN.BBOX_REG_LOSS_WEIGHT MODEL.RPN.BOUNDARY_THRESH MODEL.RPN.CONV_DIMS "
    "MODEL.RPN.IOU_LABELS MODEL.RPN.IOU_THRESHOLDS MODEL.RPN.LOSS_WEIGHT "
    "MODEL.RPN.POSITIVE_FRACTION MODEL.RPN.POST_NMS_TOPK_TRAIN MODEL.RPN.PRE_NMS_TOPK_TRAIN "
    "MODEL.RPN.SMOOTH_L1_BETA MODEL.ROI_HEADS.BATCH_SIZE_PER_IMAGE MODEL.ROI_HEADS.IOU_LABELS "
    "MODEL.ROI_HEADS.IOU_THRESHOLDS MODEL.ROI_HEADS.POSITIVE_FRACTION "
    "MODEL.ROI_HEADS.PROPOSAL_APPEND_GT "
    "MODEL.ROI_BOX_HEAD.BBOX_REG_LOSS_TYPE MODEL.ROI_BOX_HEAD.BBOX_REG_LOSS_WEIGHT "
    "MODEL.ROI_BOX_HEAD.SMOOTH_L1_BETA MODEL.ROI_BOX_HEAD.NUM_FC "
    "MODEL.ROI_BOX_HEAD.CONV_DIM MODEL.ROI_BOX_HEAD.TRAIN_ON_PRED_BOXES "
    "MODEL.ROI_BOX_HEAD.USE_FED_LOSS MODEL.ROI_BOX_HEAD.FED_LOSS_FREQ_WEIGHT_POWER "
    "MODEL.ROI_BOX_HEAD.FED_LOSS_NUM_CLASSES MODEL.ROI_BOX_CASCADE_HEAD.IOUS "
    "MODEL.ROI_MASK_HEAD.CONV_DIM TEST.EXPECTED_RESULTS TEST.EVAL_PERIOD "
    "TEST.KEYPOINT_OKS_SIGMAS".split()
)
"""Keys for training, and for what the weights show."""
BODY = ("res2", "res3", "res4", "res5")
PYRAMID = ("p2", "p3", "p4", "p5", "p6")
MAPS: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "pyramid": {
        "body_features": BODY,
        "pyramid_features": BODY,
        "proposal_features": PYRAMID,
        "region_features": PYRAMID[:4],
    },
    "c4": dict.fromkeys(("body_features", "proposal_features", "region_features"), ("res4",)),
    "c5": dict.fromkeys(("body_features", "proposal_features", "region_features"), ("res5",)),
}
"""Feature maps that each kind of body uses, by field."""
BACKBONES = {"pyramid": "build_resnet_fpn_backbone"}
"""Builder of each kind of body, if not `build_resnet_backbone`."""
IMAGENET_STD = (57.375, 57.12, 58.395)
"""`PIXEL_STD` of the model zoo's ResNeXt networks, whose backbones are not Caffe's."""
NOT_DEFORMABLE = (False, False, False, False)
NORMS = {
    "": "none",
    **dict.fromkeys(("FrozenBN", "BN", "SyncBN", "naiveSyncBN"), "batch"),
    "GN": "group",
}
"""Kind of normalisation by Detectron2's name."""


def _none_if_zero(short_edge: Any) -> Any:
    return short_edge or None


class Detectron2Config(NetworkConfig):
    """Constants of inference. Fields with a single allowed value are all that is supported."""

    fields_by_key: ClassVar[Mapping[str, str]] = {
        "INPUT.FORMAT": "channels",
        "INPUT.MIN_SIZE_TEST": "short_edge",
        "INPUT.MAX_SIZE_TEST": "max_size",
        "MODEL.META_ARCHITECTURE": "meta_architecture",
        "MODEL.MASK_ON": "has_masks",
        "MODEL.KEYPOINT_ON": "has_keypoints",
        "MODEL.LOAD_PROPOSALS": "loads_proposals",
        "MODEL.PIXEL_MEAN": "pixel_mean",
        "MODEL.PIXEL_STD": "pixel_std",
        "MODEL.BACKBONE.NAME": "backbone",
        "MODEL.RESNETS.DEPTH": "depth",
        "MODEL.RESNETS.NORM": "norm",
        "MODEL.RESNETS.STRIDE_IN_1X1": "stride_1x1",
        "MODEL.RESNETS.NUM_GROUPS": "groups",
        "MODEL.RESNETS.DEFORM_ON_PER_STAGE": "deformable",
        "MODEL.RESNETS.OUT_FEATURES": "body_features",
        "MODEL.RESNETS.RES5_DILATION": "dilation",
        "MODEL.FPN.FUSE_TYPE": "fuse",
        "MODEL.FPN.IN_FEATURES": "pyramid_features",
        "MODEL.FPN.OUT_CHANNELS": "pyramid",
        "MODEL.FPN.NORM": "pyramid_norm",
        "MODEL.ANCHOR_GENERATOR.NAME": "anchor_generator",
        "MODEL.ANCHOR_GENERATOR.SIZES": "anchor_sizes",
        "MODEL.ANCHOR_GENERATOR.ASPECT_RATIOS": "anchor_ratios",
        "MODEL.ANCHOR_GENERATOR.OFFSET": "anchor_offset",
        "MODEL.PROPOSAL_GENERATOR.NAME": "proposal_generator",
        "MODEL.PROPOSAL_GENERATOR.MIN_SIZE": "min_size",
        "MODEL.RPN.PRE_NMS_TOPK_TEST": "level_candidates",
        "MODEL.RPN.POST_NMS_TOPK_TEST": "proposals",
        "MODEL.RPN.IN_FEATURES": "proposal_features",
        "MODEL.RPN.HEAD_NAME": "proposal_head",
        "MODEL.RPN.NMS_THRESH": "proposal_nms_threshold",
        "MODEL.RPN.BBOX_REG_WEIGHTS": "proposal_regression_weights",
        "MODEL.ROI_HEADS.NAME": "heads",
        "MODEL.ROI_HEADS.IN_FEATURES": "region_features",
        "MODEL.ROI_HEADS.NUM_CLASSES": "classes",
        "MODEL.ROI_HEADS.SCORE_THRESH_TEST": "score_floor",
        "MODEL.ROI_HEADS.NMS_THRESH_TEST": "detection_nms_threshold",
        "MODEL.ROI_BOX_HEAD.BBOX_REG_WEIGHTS": "box_regression_weights",
        "MODEL.ROI_BOX_HEAD.NAME": "box_head",
        "MODEL.ROI_BOX_HEAD.NORM": "box_norm",
        "MODEL.ROI_BOX_HEAD.NUM_CONV": "box_convs",
        "MODEL.ROI_BOX_CASCADE_HEAD.BBOX_REG_WEIGHTS": "cascade_regression_weights",
        "MODEL.ROI_BOX_HEAD.FC_DIM": "fc",
        "MODEL.ROI_BOX_HEAD.CLS_AGNOSTIC_BBOX_REG": "one_box_for_all_classes",
        "MODEL.ROI_BOX_HEAD.USE_SIGMOID_CE": "has_sigmoid_classes",
        "MODEL.ROI_BOX_HEAD.POOLER_RESOLUTION": "box_resolution",
        "MODEL.ROI_BOX_HEAD.POOLER_SAMPLING_RATIO": "box_samples",
        "MODEL.ROI_BOX_HEAD.POOLER_TYPE": "box_pooler",
        "MODEL.ROI_MASK_HEAD.NAME": "mask_head",
        "MODEL.ROI_MASK_HEAD.NORM": "mask_norm",
        "MODEL.ROI_MASK_HEAD.NUM_CONV": "mask_convs",
        "MODEL.ROI_MASK_HEAD.CLS_AGNOSTIC_MASK": "one_mask_for_all_classes",
        "MODEL.ROI_MASK_HEAD.POOLER_RESOLUTION": "mask_resolution",
        "MODEL.ROI_MASK_HEAD.POOLER_SAMPLING_RATIO": "mask_samples",
        "MODEL.ROI_MASK_HEAD.POOLER_TYPE": "mask_pooler",
        "TEST.DETECTIONS_PER_IMAGE": "detections",
        "CLASS_NAMES": "class_names",
    }
    """Field of each key. `CLASS_NAMES` is our own: Detectron2 keeps names with its data sets."""
    without_effect: ClassVar[frozenset[str]] = WITHOUT_EFFECT
    sections_without_effect: ClassVar[tuple[str, ...]] = (
        *"DATALOADER. DATASETS. GLOBAL. SOLVER. INPUT.CROP. TEST.AUG. TEST.PRECISE_BN.".split(),
        *"MODEL.PANOPTIC_FPN. MODEL.RETINANET. MODEL.ROI_KEYPOINT_HEAD.".split(),
        "MODEL.SEM_SEG_HEAD.",
    )
    """Prefixes of keys for training and for other heads."""
    open_sections: ClassVar[tuple[str, ...]] = ("INPUT.", "TEST.")
    read_yaml: ClassVar[Callable[[Path], Any]] = staticmethod(lazy_config.read)
    resampling: ClassVar[Literal["pillow"]] = "pillow"
    one_scale: ClassVar[bool] = False
    symmetric: ClassVar[bool] = True
    min_detection_side: ClassVar[float] = 1e-30
    """Minimum side, so that boxes have an area. Detectron2 drops boxes without at the very end,
    which differs only in images with more than `detections`."""

    short_edge: Annotated[Side | None, BeforeValidator(_none_if_zero)] = 800
    channels: Literal["RGB", "BGR"] = "BGR"
    pixel_mean: Means = (103.53, 116.28, 123.675)
    pixel_std: Deviations = (1.0, 1.0, 1.0)
    stride_1x1: bool = True
    anchor_sizes: LevelSizes = (32, 64, 128, 256, 512)
    anchor_ratios: LevelRatios = (0.5, 1.0, 2.0)
    level_candidates: Positive = 1000
    """Number of proposals of each level before suppression."""
    proposals: Positive = 1000
    """Number of proposals of all levels together after suppression."""

    depth: Literal[50, 101, 152] | None = None
    meta_architecture: Literal["GeneralizedRCNN"] = "GeneralizedRCNN"
    backbone: Literal["build_resnet_fpn_backbone", "build_resnet_backbone"] | None = None
    norm: Literal["FrozenBN", "BN", "SyncBN", "naiveSyncBN", "GN"] | None = None
    groups: Positive | None = None
    fuse: Literal["sum"] = "sum"
    pyramid_norm: Literal["", "BN", "SyncBN", "naiveSyncBN", "GN"] | None = None
    body_features: tuple[str, ...] | None = None
    pyramid_features: tuple[str, ...] | None = None
    proposal_features: tuple[str, ...] | None = None
    region_features: tuple[str, ...] | None = None
    proposal_head: Literal["StandardRPNHead"] = "StandardRPNHead"
    deformable: Annotated[tuple[bool, ...], only(*NOT_DEFORMABLE)] = NOT_DEFORMABLE
    has_keypoints: Literal[False] = False
    loads_proposals: Literal[False] = False
    anchor_generator: Literal["DefaultAnchorGenerator"] = "DefaultAnchorGenerator"
    anchor_offset: Literal[0] = 0
    proposal_generator: Literal["RPN"] = "RPN"
    proposal_regression_weights: tuple[Literal[1], Literal[1], Literal[1], Literal[1]] = (
        1,
        1,
        1,
        1,
    )
    heads: Literal["StandardROIHeads", "Res5ROIHeads", "CascadeROIHeads"] | None = None
    one_box_for_all_classes: bool | None = None
    has_sigmoid_classes: Literal[False] = False
    box_resolution: Literal[7, 14] | None = None
    box_samples: Literal[0] = 0
    """Number of samples in each direction of a bin. 0: one for each pixel covered, rounded up."""
    box_pooler: Literal["ROIAlignV2"] = "ROIAlignV2"
    box_head: Literal["FastRCNNConvFCHead", ""] = "FastRCNNConvFCHead"
    box_norm: Literal["", "BN", "SyncBN", "naiveSyncBN", "GN"] | None = None
    box_convs: int | None = None
    """Convolutions of the box head; checked against the weights, as those of the mask head are."""
    mask_norm: Literal["", "BN", "SyncBN", "naiveSyncBN", "GN"] | None = None
    mask_convs: int | None = None
    mask_head: Literal["MaskRCNNConvUpsampleHead"] = "MaskRCNNConvUpsampleHead"
    one_mask_for_all_classes: bool | None = None
    mask_resolution: Literal[14] = 14
    mask_samples: Literal[0] = 0
    mask_pooler: Literal["ROIAlignV2"] = "ROIAlignV2"

    @property
    def rgb_mean(self) -> Triple:
        return self._rgb(self.pixel_mean)

    @property
    def rgb_std(self) -> Triple:
        return self._rgb(self.pixel_std)

    @property
    def long_edge(self) -> int:
        return self.max_size

    @property
    def delta_clip(self) -> float:
        return math.log(1000 / 16)

    def _rgb(self, values: Triple) -> Triple:
        first, second, third = values
        return (third, second, first) if self.channels == "BGR" else values

    def settled(self, architecture: Architecture) -> Self:
        """Also with the model zoo's values for such networks, where nothing is configured."""
        usual: dict[str, object] = {}
        if architecture.pyramid is None:
            usual["level_candidates"] = 6000
        if architecture.body == "c5":
            usual["dilation"] = 2
        if architecture.group_norm or architecture.groups > 1:
            usual["stride_1x1"] = False
        if architecture.groups > 1:
            usual["pixel_std"] = IMAGENET_STD
        missing = {k: v for k, v in usual.items() if k not in self.model_fields_set}
        return super().settled(architecture).model_copy(update=missing)

    def _checkable(self, architecture: Architecture) -> dict[str, tuple[object, object]]:
        values = super()._checkable(architecture)
        body = architecture.body
        heads = "Res5ROIHeads" if body == "c4" else "StandardROIHeads"
        values |= {
            "depth": (self.depth and DEPTHS[self.depth], architecture.blocks),
            "groups": (self.groups, architecture.groups),
            "backbone": (self.backbone, BACKBONES.get(body, "build_resnet_backbone")),
            "heads": (self.heads, "CascadeROIHeads" if architecture.cascade else heads),
            "one_box_for_all_classes": (self.one_box_for_all_classes, architecture.shared_boxes),
            "box_convs": (self.box_convs, architecture.box_convs.count),
            "box_resolution": (self.box_resolution, 14 if body == "c4" else 7),
        }
        if body != "c5":
            values["dilation"] = (self.dilation, 1)
        if architecture.has_masks:
            values["mask_convs"] = (self.mask_convs, architecture.mask_convs.count)
            values["one_mask_for_all_classes"] = (
                self.one_mask_for_all_classes,
                architecture.shared_masks,
            )
        values |= {field: (getattr(self, field), names) for field, names in MAPS[body].items()}
        return values | self._norms(architecture)

    def _norms(self, architecture: Architecture) -> dict[str, tuple[object, object]]:
        """Configured norms that are not those of the weights, by field."""
        found = {"norm": "group" if architecture.group_norm else "batch"}
        if architecture.pyramid is not None:
            found["pyramid_norm"] = architecture.pyramid_norm
        if architecture.box_convs.count:
            found["box_norm"] = architecture.box_convs.norm
        if architecture.has_masks and architecture.mask_convs.count:
            found["mask_norm"] = architecture.mask_convs.norm
        return {
            field: (given, kind)
            for field, kind in found.items()
            if (given := getattr(self, field)) is not None and NORMS[given] != kind.split()[0]
        }

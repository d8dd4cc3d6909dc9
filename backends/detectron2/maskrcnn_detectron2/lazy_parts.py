"""The parts of a model that `LazyConfig` describes, and the classic keys of their arguments.

An argument that is not listed is refused, since it may change a result.
Sources: detectron2/modeling, configs/common/models.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

Change: TypeAlias = Callable[[Any], Any]
CASCADE_WEIGHTS = "MODEL.ROI_BOX_CASCADE_HEAD.BBOX_REG_WEIGHTS"
"""Key whose value has a part for each box head."""
NORM_CLASSES = {
    "BatchNorm2d": "BN",
    "NaiveSyncBatchNorm": "naiveSyncBN",
    "FrozenBatchNorm2d": "FrozenBN",
}
"""Classic names of norms by their classes."""


class PythonName(str):
    """The name of something in Python, which a file holds as a value."""


@dataclass(frozen=True)
class Part:
    """What makes a part of the model."""

    makers: tuple[str, ...]
    """Names of its classes or functions, without their modules."""
    keys: Mapping[str, str | tuple[str, Change]] = field(default_factory=dict)
    """Classic key of each argument, and how its value changes if it does."""
    parts: Mapping[str, "Part"] = field(default_factory=dict)
    """Arguments that are parts, or lists of parts."""
    defaults: Mapping[str, Any] = field(default_factory=dict)
    """Values of arguments that are missing, where classic configurations have another default."""
    ignored: str = ""
    """Arguments for training, and what the weights show."""


def _norm(value: Any) -> Any:
    """A norm by its classic name. None if only the weights show it: functions have no name."""
    if isinstance(value, PythonName):
        return NORM_CLASSES.get(value.rpartition(".")[2])
    return value or ""


def _of_tests(value: Any) -> Any:
    """The second of two numbers, which are for training and for tests."""
    return value[1] if isinstance(value, list) and len(value) == 2 else value


def _only(value: Any) -> Any:
    """A number, also from a list in which it is repeated."""
    is_repeated = isinstance(value, list) and value and value == value[:1] * len(value)
    return value[0] if is_repeated else value


def _length(value: Any) -> Any:
    return len(value) if isinstance(value, list) else value


def _without_last(value: Any) -> Any:
    """The number of convolutions before the transposed one."""
    return len(value) - 1 if isinstance(value, list) else value


def _pooler(section: str) -> Part:
    keys = {
        "output_size": f"{section}.POOLER_RESOLUTION",
        "sampling_ratio": f"{section}.POOLER_SAMPLING_RATIO",
        "pooler_type": f"{section}.POOLER_TYPE",
    }
    return Part(("ROIPooler",), keys, ignored="scales")


def _predictor(weights_key: str) -> Part:
    return Part(
        ("FastRCNNOutputLayers",),
        {
            "num_classes": "MODEL.ROI_HEADS.NUM_CLASSES",
            "test_score_thresh": "MODEL.ROI_HEADS.SCORE_THRESH_TEST",
            "test_nms_thresh": "MODEL.ROI_HEADS.NMS_THRESH_TEST",
            "test_topk_per_image": "TEST.DETECTIONS_PER_IMAGE",
            "cls_agnostic_bbox_reg": "MODEL.ROI_BOX_HEAD.CLS_AGNOSTIC_BBOX_REG",
            "use_sigmoid_ce": "MODEL.ROI_BOX_HEAD.USE_SIGMOID_CE",
        },
        {"box2box_transform": _transform(weights_key)},
        {"test_score_thresh": 0.0},
        "input_shape smooth_l1_beta box_reg_loss_type loss_weight use_fed_loss "
        "get_fed_loss_cls_weights fed_loss_num_classes",
    )


def _transform(key: str) -> Part:
    return Part(("Box2BoxTransform",), {"weights": key})


_RESNET = Part(
    ("ResNet",),
    {"out_features": "MODEL.RESNETS.OUT_FEATURES"},
    {
        "stem": Part(
            ("BasicStem",),
            {"norm": ("MODEL.RESNETS.NORM", _norm)},
            ignored="in_channels out_channels",
        ),
        "stages": Part(
            ("ResNet.make_default_stages",),
            {
                "depth": "MODEL.RESNETS.DEPTH",
                "norm": ("MODEL.RESNETS.NORM", _norm),
                "num_groups": "MODEL.RESNETS.NUM_GROUPS",
                "stride_in_1x1": "MODEL.RESNETS.STRIDE_IN_1X1",
            },
            defaults={"stride_in_1x1": False},
            ignored="bottleneck_channels",
        ),
    },
    ignored="freeze_at num_classes",
)
_FPN = Part(
    ("FPN",),
    {
        "in_features": "MODEL.FPN.IN_FEATURES",
        "out_channels": "MODEL.FPN.OUT_CHANNELS",
        "norm": ("MODEL.FPN.NORM", _norm),
        "fuse_type": "MODEL.FPN.FUSE_TYPE",
    },
    {"bottom_up": _RESNET, "top_block": Part(("LastLevelMaxPool",))},
)
_RPN = Part(
    ("RPN",),
    {
        "in_features": "MODEL.RPN.IN_FEATURES",
        "nms_thresh": "MODEL.RPN.NMS_THRESH",
        "pre_nms_topk": ("MODEL.RPN.PRE_NMS_TOPK_TEST", _of_tests),
        "post_nms_topk": ("MODEL.RPN.POST_NMS_TOPK_TEST", _of_tests),
        "min_box_size": "MODEL.PROPOSAL_GENERATOR.MIN_SIZE",
    },
    {
        "head": Part(("StandardRPNHead",), ignored="in_channels num_anchors conv_dims"),
        "anchor_generator": Part(
            ("DefaultAnchorGenerator",),
            {
                "sizes": "MODEL.ANCHOR_GENERATOR.SIZES",
                "aspect_ratios": "MODEL.ANCHOR_GENERATOR.ASPECT_RATIOS",
                "offset": "MODEL.ANCHOR_GENERATOR.OFFSET",
            },
            defaults={"offset": 0.5},
            ignored="strides",
        ),
        "box2box_transform": _transform("MODEL.RPN.BBOX_REG_WEIGHTS"),
    },
    ignored="anchor_matcher batch_size_per_image positive_fraction loss_weight box_reg_loss_type "
    "smooth_l1_beta anchor_boundary_thresh",
)
_BOX_HEAD = Part(
    ("FastRCNNConvFCHead",),
    {
        "conv_dims": ("MODEL.ROI_BOX_HEAD.NUM_CONV", _length),
        "fc_dims": ("MODEL.ROI_BOX_HEAD.FC_DIM", _only),
        "conv_norm": ("MODEL.ROI_BOX_HEAD.NORM", _norm),
    },
    ignored="input_shape",
)
_HEADS = Part(
    ("StandardROIHeads", "CascadeROIHeads"),
    {
        "num_classes": "MODEL.ROI_HEADS.NUM_CLASSES",
        "box_in_features": "MODEL.ROI_HEADS.IN_FEATURES",
        "mask_in_features": "MODEL.ROI_HEADS.IN_FEATURES",
    },
    {
        "box_pooler": _pooler("MODEL.ROI_BOX_HEAD"),
        "box_head": _BOX_HEAD,
        "box_heads": _BOX_HEAD,
        "box_predictor": _predictor("MODEL.ROI_BOX_HEAD.BBOX_REG_WEIGHTS"),
        "box_predictors": _predictor(CASCADE_WEIGHTS),
        "mask_pooler": _pooler("MODEL.ROI_MASK_HEAD"),
        "mask_head": Part(
            ("MaskRCNNConvUpsampleHead",),
            {
                "conv_dims": ("MODEL.ROI_MASK_HEAD.NUM_CONV", _without_last),
                "conv_norm": ("MODEL.ROI_MASK_HEAD.NORM", _norm),
            },
            ignored="input_shape num_classes loss_weight vis_period",
        ),
    },
    ignored="batch_size_per_image positive_fraction proposal_matcher proposal_matchers "
    "proposal_append_gt train_on_pred_boxes",
)
MODEL = Part(
    ("GeneralizedRCNN",),
    {
        "input_format": "INPUT.FORMAT",
        "pixel_mean": "MODEL.PIXEL_MEAN",
        "pixel_std": "MODEL.PIXEL_STD",
    },
    {"backbone": _FPN, "proposal_generator": _RPN, "roi_heads": _HEADS},
    ignored="vis_period",
)
RESIZE = Part(
    ("ResizeShortestEdge",),
    {
        "short_edge_length": ("INPUT.MIN_SIZE_TEST", _only),
        "max_size": "INPUT.MAX_SIZE_TEST",
    },
    ignored="sample_style interp",
)
"""The only change of images before the model."""

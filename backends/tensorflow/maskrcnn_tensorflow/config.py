"""What a network needs to know that its weights do not say, by TensorPack's configuration keys."""

import difflib
import math
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from typing_extensions import Self

from maskrcnn_server.errors import InvalidSetting
from maskrcnn_tensorflow.architecture import Architecture

Fraction = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[int, Field(gt=0)]
Triple = tuple[float, float, float]
Weights = tuple[float, float, float, float]


WITHOUT_EFFECT = frozenset(
    "TRAINER DATA.BASEDIR DATA.TRAIN DATA.VAL DATA.ABSOLUTE_COORD DATA.FILTER_EMPTY_ANNOTATIONS "
    "DATA.NUM_WORKERS BACKBONE.WEIGHTS BACKBONE.FREEZE_AFFINE BACKBONE.FREEZE_AT TRAIN.NUM_GPUS "
    "TRAIN.WEIGHT_DECAY TRAIN.BASE_LR TRAIN.WARMUP TRAIN.WARMUP_INIT_LR TRAIN.STEPS_PER_EPOCH "
    "TRAIN.STARTING_EPOCH TRAIN.LR_SCHEDULE TRAIN.EVAL_PERIOD TRAIN.CHECKPOINT_PERIOD "
    "PREPROC.TRAIN_SHORT_EDGE_SIZE RPN.ANCHOR_STRIDE RPN.POSITIVE_ANCHOR_THRESH "
    "RPN.NEGATIVE_ANCHOR_THRESH RPN.FG_RATIO RPN.BATCH_PER_IM RPN.CROWD_OVERLAP_THRESH "
    "RPN.HEAD_DIM RPN.TRAIN_PRE_NMS_TOPK RPN.TRAIN_POST_NMS_TOPK "
    "RPN.TRAIN_PER_LEVEL_NMS_TOPK RPN.NUM_ANCHOR FRCNN.BATCH_PER_IM "
    "FRCNN.FG_THRESH FRCNN.FG_RATIO FPN.RESOLUTION_REQUIREMENT "
    "MRCNN.ACCURATE_PASTE CASCADE.IOUS".split()
)
"""Keys of the framework that training needs, or networks of another kind. Masks are always pasted
accurately."""


class NetworkConfig(BaseModel):
    """Constants of inference: field, TensorPack's key (FasterRCNN/config.py) and its default."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)
    without_effect: ClassVar[frozenset[str]] = WITHOUT_EFFECT

    short_edge: Positive | None = Field(800, alias="PREPROC.TEST_SHORT_EDGE_SIZE")
    """Pixels of the resized image's short edge; None: images go in as they are."""
    max_size: Positive = Field(1333, alias="PREPROC.MAX_SIZE")
    """Pixels of its long edge at most, before rounding: see `long_edge`."""
    pixel_mean: Triple = Field((123.675, 116.28, 103.53), alias="PREPROC.PIXEL_MEAN")
    """RGB, 0 to 255."""
    pixel_std: Triple = Field((58.395, 57.12, 57.375), alias="PREPROC.PIXEL_STD")
    anchor_sizes: tuple[float, float, float, float, float] = Field(
        (32, 64, 128, 256, 512), alias="RPN.ANCHOR_SIZES"
    )
    anchor_ratios: tuple[float, ...] = Field((0.5, 1.0, 2.0), alias="RPN.ANCHOR_RATIOS")
    anchor_strides: tuple[Literal[4], Literal[8], Literal[16], Literal[32], Literal[64]] = Field(
        (4, 8, 16, 32, 64), alias="FPN.ANCHOR_STRIDES"
    )
    proposal_mode: Literal["Level", "Joint"] = Field("Level", alias="FPN.PROPOSAL_MODE")
    """Whether overlaps are suppressed level by level, or in all levels together."""
    proposals: Positive = Field(1000, alias="RPN.TEST_PER_LEVEL_NMS_TOPK")
    """Level by level: of each level before and after suppression, and of all levels together."""
    joint_candidates: Positive = Field(6000, alias="RPN.TEST_PRE_NMS_TOPK")
    """In all levels together, and in C4 networks: before suppression."""
    joint_proposals: Positive = Field(1000, alias="RPN.TEST_POST_NMS_TOPK")
    """The same, after it."""
    proposal_nms_threshold: Fraction = Field(0.7, alias="RPN.PROPOSAL_NMS_THRESH")
    box_regression_weights: Weights = Field((10.0, 10.0, 5.0, 5.0), alias="FRCNN.BBOX_REG_WEIGHTS")
    cascade_regression_weights: tuple[Weights, Weights, Weights] = Field(
        ((10.0, 10.0, 5.0, 5.0), (20.0, 20.0, 10.0, 10.0), (30.0, 30.0, 15.0, 15.0)),
        alias="CASCADE.BBOX_REG_WEIGHTS",
    )
    tf_pad_mode: bool = Field(False, alias="BACKBONE.TF_PAD_MODE")
    """Whether zeros are padded on the bottom and right first, as TensorFlow does."""
    stride_1x1: bool = Field(False, alias="BACKBONE.STRIDE_1X1")
    """Whether blocks stride in their first convolution, as in MSRA's models."""
    detection_nms_threshold: Fraction = Field(0.5, alias="TEST.FRCNN_NMS_THRESH")
    detections: Positive = Field(100, alias="TEST.RESULTS_PER_IM")
    score_floor: Fraction = Field(0.05, alias="TEST.RESULT_SCORE_THRESH")
    """The default threshold is not below it; a request's may be."""
    score_threshold: Fraction | None = Field(None, alias="TEST.RESULT_SCORE_THRESH_VIS")
    """None: the framework's own default."""
    class_names: tuple[str, ...] | None = Field(None, alias="DATA.CLASS_NAMES")
    """With or without the background in front."""

    blocks: tuple[int, int, int, int] | None = Field(None, alias="BACKBONE.RESNET_NUM_BLOCKS")
    """This and what follows can be read off the weights, and is only checked against them."""
    pyramid: int | None = Field(None, alias="FPN.NUM_CHANNEL")
    fc: int | None = Field(None, alias="FPN.FRCNN_FC_HEAD_DIM")
    mask: int | None = Field(None, alias="MRCNN.HEAD_DIM")
    classes: int | None = Field(None, alias="DATA.NUM_CATEGORY")
    has_masks: bool | None = Field(None, alias="MODE_MASK")

    mode_fpn: bool | None = Field(None, alias="MODE_FPN")
    norm: Literal["FreezeBN", "SyncBN", "GN", "None"] | None = Field(None, alias="BACKBONE.NORM")
    pyramid_norm: Literal["None", "GN"] | None = Field(None, alias="FPN.NORM")
    cascade: bool | None = Field(None, alias="FPN.CASCADE")
    box_head: str | None = Field(
        None, pattern=r"^fastrcnn_(2fc|4conv1fc|4conv1fc_gn)_head$", alias="FPN.FRCNN_HEAD_FUNC"
    )
    mask_head: Literal["maskrcnn_up4conv_head", "maskrcnn_up4conv_gn_head"] | None = Field(
        None, alias="FPN.MRCNN_HEAD_FUNC"
    )
    box_convs: int | None = Field(None, alias="FPN.FRCNN_CONV_HEAD_DIM")

    min_size: Annotated[float, Field(ge=0)] = Field(0, alias="RPN.MIN_SIZE")
    """Least width and height of a proposal; what it counts in is the framework's."""

    @classmethod
    def keys(cls) -> frozenset[str]:
        """Every key of the framework's configuration."""
        return cls.without_effect | {str(info.alias) for info in cls.model_fields.values()}

    @classmethod
    def of(cls, values: Mapping[str, Any], source: str) -> Self:
        """The configuration of dotted keys and their values, which came from `source`.

        Raises InvalidSetting for the first key that does not exist, with the nearest that does, or
        whose value is not allowed.
        """
        known = cls.keys()
        for key in values:
            if key not in known:
                nearest = difflib.get_close_matches(key, known, n=1, cutoff=0)[0]
                raise InvalidSetting(f"{source}: no such key: {key}; the nearest is {nearest}")
        try:
            return cls.model_validate(
                {k: v for k, v in values.items() if k not in cls.without_effect}
            )
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            raise InvalidSetting(
                f"{source}: {first['loc'][0]}={first['input']!r}: {first['msg']}"
            ) from None

    @property
    def long_edge(self) -> int:
        """`max_size` as `finalize_configs` rounds it for a pyramid: up to a multiple of 32."""
        return math.ceil(self.max_size / self.stride) * self.stride

    @property
    def stride(self) -> int:
        """Images are padded to a multiple of this: a pyramid needs it, C4 takes any size."""
        return 1 if self.mode_fpn is False else 32

    @property
    def regression_weights(self) -> tuple[Weights, ...]:
        """What the box regressions of each box head are divided by."""
        return self.cascade_regression_weights if self.cascade else (self.box_regression_weights,)

    @property
    def delta_clip(self) -> float:
        """Largest dw, dh of a box regression (natural logarithm)."""
        return math.log(self.long_edge / 16)

    def settled(self, architecture: Architecture) -> Self:
        """With what the weights say of the body and the heads, on which other properties depend."""
        return self.model_copy(
            update={
                "mode_fpn": architecture.pyramid is not None,
                "cascade": architecture.cascade,
            }
        )

    def contradictions(self, architecture: Architecture) -> list[str]:
        """Where this says something else than the weights do."""
        has_pyramid = architecture.pyramid is not None
        says: dict[str, tuple[object, object]] = {
            "MODE_FPN": (self.mode_fpn, has_pyramid),
            "MODE_MASK": (self.has_masks, architecture.has_masks),
            "BACKBONE.RESNET_NUM_BLOCKS": (self.blocks, architecture.blocks),
            "BACKBONE.NORM GN": (_is_gn(self.norm), architecture.group_norm),
            "DATA.NUM_CATEGORY": (self.classes, architecture.classes),
            "MRCNN.HEAD_DIM": (
                self.mask if architecture.has_masks else None,
                architecture.mask,
            ),
        }
        if has_pyramid:
            convs = architecture.box_convs
            box_head = "4conv1fc" if convs.count else "2fc"
            mask_norm = "_gn" if architecture.mask_convs.norm else ""
            says |= {
                "RPN.ANCHOR_RATIOS": (len(self.anchor_ratios), architecture.anchors),
                "FPN.CASCADE": (self.cascade, architecture.cascade),
                "FPN.NUM_CHANNEL": (self.pyramid, architecture.pyramid),
                "FPN.NORM GN": (_is_gn(self.pyramid_norm), architecture.pyramid_norm),
                "FPN.FRCNN_FC_HEAD_DIM": (self.fc, architecture.fc[0][1]),
                "FPN.FRCNN_CONV_HEAD_DIM": (self.box_convs if convs.count else None, convs.width),
                "FPN.FRCNN_HEAD_FUNC": (
                    None if self.box_head is None else self.box_head.partition("_")[2],
                    f"{box_head}{'_gn' if convs.norm else ''}_head",
                ),
                "FPN.MRCNN_HEAD_FUNC": (
                    self.mask_head if architecture.has_masks else None,
                    f"maskrcnn_up4conv{mask_norm}_head",
                ),
            }
        return [
            f"{key} is configured as {ours}, the weights say {theirs}"
            for key, (ours, theirs) in says.items()
            if ours is not None and ours != theirs
        ]


def _is_gn(norm: str | None) -> bool | None:
    return None if norm is None else norm == "GN"

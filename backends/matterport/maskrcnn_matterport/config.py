"""Matterport's configuration: the attributes of `mrcnn.config.Config` and of its subclasses.

Source: mrcnn/config.py, commit 3deaec5, for the defaults.
"""

import math
from collections.abc import Callable, Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Field

from maskrcnn_network.anchor_lists import AboveZero, Sizes
from maskrcnn_network.architecture import Architecture
from maskrcnn_network.centred import CentredPreparation
from maskrcnn_network.config import (
    MAX_SIDE,
    Deviations,
    Fraction,
    Length,
    Means,
    NetworkConfig,
    Pads,
    Positive,
    Side,
    Weights,
    only,
)
from maskrcnn_server.categories import Category, coco

STRIDE = 64
"""Divisor of the sides of padded images."""
MAX_EXPONENT = 80.0
"""Maximum dw and dh, which only diverged networks reach: float32 cannot hold much more."""
BLOCKS = {"resnet50": (3, 4, 6, 3), "resnet101": (3, 4, 23, 3)}
WITHOUT_EFFECT = frozenset(
    "NAME GPU_COUNT IMAGES_PER_GPU BATCH_SIZE STEPS_PER_EPOCH VALIDATION_STEPS TRAIN_BN "
    "TRAIN_ROIS_PER_IMAGE ROI_POSITIVE_RATIO MAX_GT_INSTANCES RPN_TRAIN_ANCHORS_PER_IMAGE "
    "POST_NMS_ROIS_TRAINING USE_RPN_ROIS LEARNING_RATE LEARNING_MOMENTUM WEIGHT_DECAY "
    "LOSS_WEIGHTS GRADIENT_CLIP_NORM USE_MINI_MASK MINI_MASK_SHAPE IMAGE_SHAPE IMAGE_META_SIZE "
    "COMPUTE_BACKBONE_SHAPE".split()
)
"""Keys for training, and for what other keys show."""


def divisors(deviations: Weights) -> Weights:
    """Divisors of dx, dy, dw, dh from the standard deviations of dy, dx, dh, dw."""
    dy, dx, dh, dw = (1 / deviation for deviation in deviations)
    return dx, dy, dw, dh


def _none_as_zero(value: Any) -> Any:
    return value or 0


def _known_mode(mode: Any) -> Any:
    if mode == "crop":
        raise ValueError("crop is for training only: set the mode that images are served in")
    return mode


class MatterportConfig(NetworkConfig):
    """Constants of inference. Fields with a single allowed value are all that is supported."""

    fields_by_key: ClassVar[Mapping[str, str]] = {
        "IMAGE_RESIZE_MODE": "resize_mode",
        "IMAGE_MIN_DIM": "short_edge",
        "IMAGE_MAX_DIM": "max_size",
        "IMAGE_MIN_SCALE": "min_scale",
        "IMAGE_CHANNEL_COUNT": "input_channels",
        "MEAN_PIXEL": "pixel_mean",
        "BACKBONE": "backbone",
        "BACKBONE_STRIDES": "anchor_strides",
        "TOP_DOWN_PYRAMID_SIZE": "pyramid",
        "FPN_CLASSIF_FC_LAYERS_SIZE": "fc",
        "NUM_CLASSES": "outputs",
        "RPN_ANCHOR_SCALES": "anchor_sizes",
        "RPN_ANCHOR_RATIOS": "anchor_ratios",
        "RPN_ANCHOR_STRIDE": "anchor_step",
        "RPN_NMS_THRESHOLD": "proposal_nms_threshold",
        "PRE_NMS_LIMIT": "proposal_candidates",
        "POST_NMS_ROIS_INFERENCE": "proposals",
        "RPN_BBOX_STD_DEV": "proposal_std",
        "BBOX_STD_DEV": "box_std",
        "POOL_SIZE": "box_resolution",
        "MASK_POOL_SIZE": "mask_resolution",
        "MASK_SHAPE": "mask_shape",
        "DETECTION_MAX_INSTANCES": "detections",
        "DETECTION_MIN_CONFIDENCE": "score_threshold",
        "DETECTION_NMS_THRESHOLD": "detection_nms_threshold",
        "CLASS_NAMES": "class_names",
    }
    """Field of each key. `CLASS_NAMES` is our own: Matterport keeps names with its data sets."""
    without_effect: ClassVar[frozenset[str]] = WITHOUT_EFFECT
    coco_layouts: ClassVar[Mapping[int, Callable[[], tuple[Category, ...]]]] = {80: coco}

    resize_mode: Annotated[Literal["square", "pad64", "none"], BeforeValidator(_known_mode)] = (
        "square"
    )
    short_edge: Annotated[int, Field(ge=0, le=MAX_SIDE), BeforeValidator(_none_as_zero)] = 800
    """Minimum short edge of the resized image in pixels."""
    max_size: Side = 1024
    """Side of the canvas in the mode `square`, in pixels."""
    min_scale: Annotated[Length, BeforeValidator(_none_as_zero)] = 0
    """Minimum scale of the resized image."""
    pixel_mean: Means = (123.7, 116.8, 103.9)
    pixel_std: Deviations = (1.0, 1.0, 1.0)
    channels: Literal["RGB", "BGR"] = "RGB"
    norm_epsilon: Length = 1e-3
    stride_1x1: bool = True
    anchor_sizes: Sizes = (32, 64, 128, 256, 512)
    anchor_ratios: tuple[AboveZero, ...] = (0.5, 1.0, 2.0)
    """Width by height of the anchors."""
    proposal_candidates: Positive = 6000
    """Number of best boxes that enter suppression."""
    proposal_std: Weights = (0.1, 0.1, 0.2, 0.2)
    """Standard deviations of dy, dx, dh, dw of proposals, which their regressions are divided by.
    """
    box_std: Weights = (0.1, 0.1, 0.2, 0.2)
    detection_nms_threshold: Fraction = 0.3
    score_floor: Fraction = 0.0

    input_channels: Literal[3] = 3
    backbone: Literal["resnet50", "resnet101"] | None = None
    outputs: int | None = None
    """Number of classes with the background."""
    anchor_step: Literal[1] = 1
    box_resolution: Literal[7] = 7
    mask_resolution: Literal[14] = 14
    mask_shape: Annotated[tuple[int, ...], only(28, 28)] = (28, 28)

    @property
    def height_ratios(self) -> tuple[float, ...]:
        return tuple(1 / ratio for ratio in self.anchor_ratios)

    @property
    def pool_pads(self) -> Pads:
        return 0, 1

    @property
    def regression_weights(self) -> tuple[Weights, ...]:
        return (divisors(self.box_std),)

    @property
    def delta_clip(self) -> float:
        return MAX_EXPONENT

    @property
    def stride(self) -> int:
        return STRIDE

    @property
    def preparation(self) -> CentredPreparation:
        square = self.resize_mode == "square"
        return CentredPreparation(
            short_edge=None if self.resize_mode == "none" else self.short_edge,
            long_edge=self.max_size if square else math.inf,
            min_scale=max(1.0, self.min_scale),
            mean=self.pixel_mean,
            multiple_of=STRIDE,
            min_padded=self.max_size if square else 1,
        )

    def contradictions(self, architecture: Architecture) -> list[str]:
        side = {"square": "max_size", "pad64": "short_edge"}.get(self.resize_mode)
        odd = side is not None and getattr(self, side) % STRIDE
        reason = f"{self.key(side or '')} must be a multiple of {STRIDE} in this mode"
        return super().contradictions(architecture) + [reason] * bool(odd)

    def _checkable(self, architecture: Architecture) -> dict[str, tuple[object, object]]:
        values = super()._checkable(architecture)
        values["backbone"] = (self.backbone and BLOCKS[self.backbone], architecture.blocks)
        values["outputs"] = (self.outputs, architecture.classes + 1)
        return values

"""MMDetection's configuration: keys of `model` and of the test pipeline, by version 3's names.

Sources: configs/_base_/models/mask-rcnn_r50_fpn.py and cascade-mask-rcnn_r50_fpn.py, and the
defaults in mmdet/models.
"""

import math
from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from pydantic import Field, model_validator

from maskrcnn_mmdetection.preparation import WithinScale
from maskrcnn_network.anchor_lists import AboveZero, CellSizes
from maskrcnn_network.architecture import Architecture
from maskrcnn_network.config import NetworkConfig, Positive, Side, Weights
from maskrcnn_network.preparation import Triple

DEPTHS = {50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3)}
STAGE_STDS = tuple(tuple(n / stage for n in (0.1, 0.1, 0.2, 0.2)) for stage in (1, 2, 3))


def divisors(deviations: Weights) -> Weights:
    """Divisors of regressions from their standard deviations."""
    x, y, w, h = (1 / deviation for deviation in deviations)
    return x, y, w, h


class MMDetectionConfig(NetworkConfig):
    """Constants of inference."""

    fields_by_key: ClassVar[Mapping[str, str]] = {
        "test_pipeline.Resize.scale": "scale",
        "model.data_preprocessor.mean": "pixel_mean",
        "model.data_preprocessor.std": "pixel_std",
        "model.data_preprocessor.bgr_to_rgb": "bgr_to_rgb",
        "model.backbone.depth": "depth",
        "model.backbone.groups": "groups",
        "model.backbone.style": "style",
        "model.backbone.norm_cfg.eps": "norm_epsilon",
        "model.neck.out_channels": "pyramid",
        "model.rpn_head.anchor_generator.scales": "anchor_scales",
        "model.rpn_head.anchor_generator.ratios": "anchor_ratios",
        "model.rpn_head.anchor_generator.scale_major": "anchors_by_ratio",
        "model.rpn_head.bbox_coder.target_stds": "proposal_std",
        "model.roi_head.bbox_head.bbox_coder.target_stds": "box_std",
        "model.roi_head.bbox_head.num_classes": "classes",
        "model.test_cfg.rpn.nms_pre": "level_candidates",
        "model.test_cfg.rpn.max_per_img": "proposals",
        "model.test_cfg.rpn.nms.iou_threshold": "proposal_nms_threshold",
        "model.test_cfg.rpn.min_bbox_size": "min_size",
        "model.test_cfg.rcnn.score_thr": "score_floor",
        "model.test_cfg.rcnn.nms.iou_threshold": "detection_nms_threshold",
        "model.test_cfg.rcnn.max_per_img": "detections",
        "dataset_meta.classes": "class_names",
    }
    one_scale: ClassVar[bool] = False
    symmetric: ClassVar[bool] = True

    scale: tuple[Side, Side] = (1333, 800)
    """Long and short edge of the resized image in pixels, in either order."""
    bgr_to_rgb: bool = True
    """Whether the network takes RGB. `pixel_mean` and `pixel_std` are in the network's order."""
    channels: Literal["RGB", "BGR"] = "RGB"
    style: Literal["pytorch", "caffe"] = "pytorch"
    """Whose ResNet the backbone is: in Caffe's, blocks stride in their first convolution."""
    anchor_scales: CellSizes = (8.0,)
    """Sizes of the anchors of each level, as multiples of its stride."""
    anchor_ratios: tuple[AboveZero, ...] = (0.5, 1.0, 2.0)
    anchors_by_ratio: bool = True
    proposal_std: Weights = (1.0, 1.0, 1.0, 1.0)
    box_std: Weights | tuple[Weights, Weights, Weights] | None = None
    """Standard deviations of box regressions, of each head of a cascade."""
    level_candidates: Positive = 1000
    """Number of proposals of each level before suppression."""
    proposals: Positive = 1000
    """Number of proposals of all levels together after suppression."""
    depth: Literal[50, 101, 152] | None = None
    groups: Positive | None = Field(default=None)

    @model_validator(mode="before")
    @classmethod
    def _derived(cls, given: dict[str, Any]) -> dict[str, Any]:
        """The fields of every network that other keys say here."""
        made = dict(given)
        scale = given.get("scale")
        if isinstance(scale, list | tuple) and all(isinstance(n, int) for n in scale) and scale:
            made |= {"short_edge": min(scale), "max_size": max(scale)}
        made["channels"] = "RGB" if given.get("bgr_to_rgb", True) else "BGR"
        made["stride_1x1"] = given.get("style") == "caffe"
        return made

    @property
    def rgb_mean(self) -> Triple:
        return self._rgb(self.pixel_mean)

    @property
    def rgb_std(self) -> Triple:
        return self._rgb(self.pixel_std)

    def _rgb(self, values: Triple) -> Triple:
        first, second, third = values
        return values if self.bgr_to_rgb else (third, second, first)

    @property
    def long_edge(self) -> int:
        return self.max_size

    @property
    def level_sizes(self) -> tuple[tuple[float, ...], ...]:
        return tuple(
            tuple(stride * scale for scale in self.anchor_scales) for stride in self.anchor_strides
        )

    @property
    def regression_weights(self) -> tuple[Weights, ...]:
        stds: Any = self.box_std or (STAGE_STDS if self.cascade else STAGE_STDS[0])
        stages = stds if isinstance(stds[0], tuple) else (stds,) * (3 if self.cascade else 1)
        return tuple(map(divisors, stages))

    @property
    def delta_clip(self) -> float:
        return math.log(1000 / 16)

    @property
    def preparation(self) -> WithinScale:
        usual = super().preparation
        return WithinScale(**vars(usual))

    def _checkable(self, architecture: Architecture) -> dict[str, tuple[object, object]]:
        values = super()._checkable(architecture)
        values["depth"] = (self.depth and DEPTHS[self.depth], architecture.blocks)
        values["groups"] = (self.groups, architecture.groups)
        return values

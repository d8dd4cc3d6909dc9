"""torchvision's configuration: the arguments of `MaskRCNN(...)` and their defaults.

Sources: torchvision/models/detection/mask_rcnn.py and faster_rcnn.py.
"""

import math
from collections.abc import Callable, Mapping
from typing import ClassVar, Literal

from typing_extensions import Self

from maskrcnn_network.anchor_lists import LevelRatios, LevelSizes
from maskrcnn_network.architecture import Architecture
from maskrcnn_network.config import Deviations, Fraction, Means, NetworkConfig, Positive
from maskrcnn_network.preparation import Triple
from maskrcnn_server.categories import Category, coco_with_gaps

MOBILENET_SIZES = (32.0, 64.0, 128.0, 256.0, 512.0)
"""Sizes of the anchors on every level of a MobileNet's pyramid."""


class TorchvisionConfig(NetworkConfig):
    """Constants of inference."""

    fields_by_key: ClassVar[Mapping[str, str]] = {
        "min_size": "short_edge",
        "max_size": "max_size",
        "image_mean": "image_mean",
        "image_std": "image_std",
        "norm_eps": "norm_epsilon",
        "fixed_size": "fixed_size",
        "size_divisible": "size_divisible",
        "rpn_anchor_generator.sizes": "anchor_sizes",
        "rpn_anchor_generator.aspect_ratios": "anchor_ratios",
        "rpn_score_thresh": "proposal_score_floor",
        "rpn_pre_nms_top_n_test": "level_candidates",
        "rpn_post_nms_top_n_test": "proposals",
        "rpn_nms_thresh": "proposal_nms_threshold",
        "box_score_thresh": "score_floor",
        "box_nms_thresh": "detection_nms_threshold",
        "box_detections_per_img": "detections",
        "bbox_reg_weights": "box_regression_weights",
        "num_classes": "classes_and_background",
        "class_names": "class_names",
    }
    """Field of each key. `norm_eps` of batch norms is 1e-5 by default, 0 in COCO_V1 weights."""
    without_effect: ClassVar[frozenset[str]] = frozenset(
        "weights weights_backbone pretrained pretrained_backbone progress "
        "trainable_backbone_layers trainable_layers "
        "rpn_pre_nms_top_n_train rpn_post_nms_top_n_train rpn_fg_iou_thresh "
        "rpn_bg_iou_thresh rpn_batch_size_per_image rpn_positive_fraction box_fg_iou_thresh "
        "box_bg_iou_thresh box_batch_size_per_image box_positive_fraction "
        # Arguments of references/detection/train.py.
        "aspect_ratio_group_factor backend batch_size data_augmentation data_path dataset device "
        "dist_url epochs lr lr_gamma lr_scheduler lr_step_size lr_steps model momentum "
        "norm_weight_decay opt output_dir print_freq resume seed start_epoch sync_bn test_only "
        "use_copypaste weight_decay workers world_size".split()
    )
    former_keys: ClassVar[Mapping[str, str]] = {
        "anchor_sizes": "rpn_anchor_generator.sizes",
        "anchor_ratios": "rpn_anchor_generator.aspect_ratios",
        "aspect_ratios": "rpn_anchor_generator.aspect_ratios",
    }
    """Short names of our own for the arguments of the anchor generator."""
    rounding: ClassVar[float] = 0.0
    resampling: ClassVar[Literal["float"]] = "float"
    one_scale: ClassVar[bool] = False
    coco_layouts: ClassVar[Mapping[int, Callable[[], tuple[Category, ...]]]] = {90: coco_with_gaps}
    paste: ClassVar[Literal["pixels"]] = "pixels"
    min_detection_side: ClassVar[float] = 1e-2

    image_mean: Means = (0.485, 0.456, 0.406)
    """Mean of RGB pixels from 0 to 1."""
    image_std: Deviations = (0.229, 0.224, 0.225)
    channels: Literal["RGB"] = "RGB"
    anchor_sizes: LevelSizes = (32, 64, 128, 256, 512)
    anchor_ratios: LevelRatios = (0.5, 1.0, 2.0)
    fixed_size: None = None
    size_divisible: Literal[32] = 32
    proposal_score_floor: Fraction = 0
    """Minimum score of a proposal."""
    level_candidates: Positive = 1000
    """Number of proposals of each level before suppression."""
    proposals: Positive = 1000
    """Number of proposals of all levels together after suppression."""
    classes_and_background: Positive | None = None

    @property
    def rgb_mean(self) -> Triple:
        r, g, b = self.image_mean
        return 255 * r, 255 * g, 255 * b

    @property
    def rgb_std(self) -> Triple:
        r, g, b = self.image_std
        return 255 * r, 255 * g, 255 * b

    @property
    def long_edge(self) -> int:
        return self.max_size

    @property
    def delta_clip(self) -> float:
        return math.log(1000 / 16)

    def settled(self, architecture: Architecture) -> Self:
        """Also with what torchvision sets for MobileNets, where nothing is configured."""
        return super(TorchvisionConfig, self._usual(architecture)).settled(architecture)

    def contradictions(self, architecture: Architecture) -> list[str]:
        return super(TorchvisionConfig, self._usual(architecture)).contradictions(architecture)

    def _usual(self, architecture: Architecture) -> Self:
        """A copy with the anchors and the minimum score of `fasterrcnn_mobilenet_v3_large_fpn`, if
        the weights have as many anchors."""
        usual: dict[str, object] = {}
        anchors = len(MOBILENET_SIZES) * len(self.anchor_ratios)
        if architecture.mobilenet is not None and architecture.anchors == anchors:
            usual["anchor_sizes"] = (MOBILENET_SIZES,)
            if not architecture.has_masks:
                usual["proposal_score_floor"] = 0.05
        missing = {k: v for k, v in usual.items() if k not in self.model_fields_set}
        return self.model_copy(update=missing)

    def _checkable(self, architecture: Architecture) -> dict[str, tuple[object, object]]:
        values = super()._checkable(architecture)
        values["classes_and_background"] = (
            self.classes_and_background,
            architecture.classes + 1,
        )
        return values

"""TensorPack's configuration, from which AWS Samples' descends.

Source: FasterRCNN/config.py.
"""

from collections.abc import Iterator, Mapping
from typing import ClassVar, Literal

from pydantic import Field

from maskrcnn_network.anchor_lists import Sizes
from maskrcnn_network.architecture import Architecture
from maskrcnn_network.config import NetworkConfig, Positive

FIELDS_BY_KEY = {
    "MODE_FPN": "mode_fpn",
    "MODE_MASK": "has_masks",
    "DATA.CLASS_NAMES": "class_names",
    "DATA.NUM_CATEGORY": "classes",
    "PREPROC.TEST_SHORT_EDGE_SIZE": "short_edge",
    "PREPROC.MAX_SIZE": "max_size",
    "PREPROC.PIXEL_MEAN": "pixel_mean",
    "PREPROC.PIXEL_STD": "pixel_std",
    "BACKBONE.NORM": "norm",
    "BACKBONE.RESNET_NUM_BLOCKS": "blocks",
    "BACKBONE.STRIDE_1X1": "stride_1x1",
    "BACKBONE.TF_PAD_MODE": "tf_pad_mode",
    "FPN.ANCHOR_STRIDES": "anchor_strides",
    "FPN.CASCADE": "cascade",
    "FPN.FRCNN_CONV_HEAD_DIM": "box_convs",
    "FPN.FRCNN_FC_HEAD_DIM": "fc",
    "FPN.FRCNN_HEAD_FUNC": "box_head",
    "FPN.MRCNN_HEAD_FUNC": "mask_head",
    "FPN.NORM": "pyramid_norm",
    "FPN.NUM_CHANNEL": "pyramid",
    "FPN.PROPOSAL_MODE": "proposal_mode",
    "RPN.ANCHOR_RATIOS": "anchor_ratios",
    "RPN.ANCHOR_SIZES": "anchor_sizes",
    "RPN.MIN_SIZE": "min_size",
    "RPN.PROPOSAL_NMS_THRESH": "proposal_nms_threshold",
    "RPN.TEST_PER_LEVEL_NMS_TOPK": "proposals",
    "RPN.TEST_PRE_NMS_TOPK": "joint_candidates",
    "RPN.TEST_POST_NMS_TOPK": "joint_proposals",
    "FRCNN.BBOX_REG_WEIGHTS": "box_regression_weights",
    "CASCADE.BBOX_REG_WEIGHTS": "cascade_regression_weights",
    "MRCNN.HEAD_DIM": "mask",
    "TEST.FRCNN_NMS_THRESH": "detection_nms_threshold",
    "TEST.RESULTS_PER_IM": "detections",
    "TEST.RESULT_SCORE_THRESH": "score_floor",
    "TEST.RESULT_SCORE_THRESH_VIS": "score_threshold",
}
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
"""Keys that only training needs, and `MRCNN.ACCURATE_PASTE`: masks are always pasted accurately."""

DEEPDOCTECTIONS = (
    "which only deepdoctection has: put its conf_frcnn_*.yaml next to the checkpoint, and serve it "
    "with the backend tensorpack"
)


class TensorPackConfig(NetworkConfig):
    """Constants of inference."""

    fields_by_key: ClassVar[Mapping[str, str]] = FIELDS_BY_KEY
    without_effect: ClassVar[frozenset[str]] = WITHOUT_EFFECT
    former_keys: ClassVar[Mapping[str, str]] = {
        "PREPROC.SHORT_EDGE_SIZE": "PREPROC.TEST_SHORT_EDGE_SIZE",
        "RPN.TEST_FPN_NMS_TOPK": "RPN.TEST_PER_LEVEL_NMS_TOPK",
    }

    anchor_sizes: Sizes = (32, 64, 128, 256, 512)
    proposal_mode: Literal["Level", "Joint"] = "Level"
    """Whether overlaps are suppressed in each level, or in all levels together."""
    joint_candidates: Positive = 6000
    """Number of proposals before suppression in all levels together, and in C4 networks."""
    joint_proposals: Positive = 1000
    """Number of proposals after suppression in all levels together, and in C4 networks."""

    norm: Literal["FreezeBN", "SyncBN", "GN", "None"] | None = None
    """Norm of the backbone. This and the fields below are only checked against the weights."""
    pyramid_norm: Literal["None", "GN"] | None = None
    box_head: str | None = Field(None, pattern=r"^fastrcnn_(2fc|4conv1fc|4conv1fc_gn)_head$")
    mask_head: Literal["maskrcnn_up4conv_head", "maskrcnn_up4conv_gn_head"] | None = None
    box_convs: int | None = None

    def contradictions(self, architecture: Architecture) -> list[str]:
        """Also what only deepdoctection has, with a configuration of its own."""
        traits = self._other_traits(architecture)
        return super().contradictions(architecture) + [f"the weights have {t}" for t in traits]

    def _other_traits(self, architecture: Architecture) -> Iterator[str]:
        """What the framework's networks do not have, and whose it is."""
        if architecture.groups > 1:
            yield f"a {architecture.name}, {DEEPDOCTECTIONS}"
        if architecture.pyramid_norm == "group" and not architecture.pyramid_biased:
            yield f"a pyramid with group normalisation and without biases, {DEEPDOCTECTIONS}"

    def _checkable(self, architecture: Architecture) -> dict[str, tuple[object, object]]:
        values = super()._checkable(architecture)
        values["norm"] = _norms(self.norm, architecture.group_norm)
        if architecture.pyramid is not None:
            convs = architecture.box_convs
            values["pyramid_norm"] = _norms(self.pyramid_norm, architecture.pyramid_norm == "group")
            if convs.count:
                values["box_convs"] = (self.box_convs, convs.width)
            norm = "_gn" if convs.norm == "group" else ""
            kind = f"{'4conv1fc' if convs.count else '2fc'}{norm}_head"
            own = self.box_head and f"{self.box_head.partition('_')[0]}_{kind}"
            values["box_head"] = (self.box_head, own)
            if architecture.has_masks:
                norm = "_gn" if architecture.mask_convs.norm == "group" else ""
                values["mask_head"] = (self.mask_head, f"maskrcnn_up4conv{norm}_head")
        return values


def _norms(configured: str | None, is_group_norm: bool) -> tuple[object, object]:
    """Configured and actual norm. All norms but GN are the same once trained."""
    if configured is None or (configured == "GN") == is_group_norm:
        return None, None
    return configured, "GN" if is_group_norm else "no GN"

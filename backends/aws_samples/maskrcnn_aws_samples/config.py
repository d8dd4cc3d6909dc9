"""AWS Samples' configuration: TensorPack's, with some keys renamed and some of its own.

Source: MaskRCNN/config.py.
"""

from collections.abc import Mapping
from typing import ClassVar, Literal

from pydantic import Field

from maskrcnn_network.config import Length, Positive
from maskrcnn_network.tensorpack_config import (
    FIELDS_BY_KEY,
    WITHOUT_EFFECT,
    TensorPackConfig,
)

RENAMED = {
    "RPN.TEST_PER_LEVEL_NMS_TOPK": "RPN.TEST_IMAGE_POST_NMS_TOPK",
    "FPN.FRCNN_HEAD_FUNC": "FPN.BOXCLASS_HEAD_FUNC",
    "FPN.FRCNN_FC_HEAD_DIM": "FPN.BOXCLASS_FC_HEAD_DIM",
    "FPN.FRCNN_CONV_HEAD_DIM": "FPN.BOXCLASS_CONV_HEAD_DIM",
}
"""AWS Samples' names of renamed keys, by TensorPack's names."""
OWN = {
    "RPN.TEST_PER_LEVEL_PRE_NMS_TOPK": "level_candidates",
    "RPN.TEST_PER_LEVEL_POST_NMS_TOPK": "level_proposals",
}


class AwsSamplesConfig(TensorPackConfig):
    """Constants of inference."""

    fields_by_key: ClassVar[Mapping[str, str]] = {
        RENAMED.get(key, key): field for key, field in FIELDS_BY_KEY.items()
    } | OWN
    without_effect: ClassVar[frozenset[str]] = (
        WITHOUT_EFFECT
        | RENAMED.keys()
        | frozenset(
            "TRAIN.WARMUP_STEPS TRAIN.LR_EPOCH_SCHEDULE TRAIN.BATCH_SIZE_PER_GPU TRAIN.SEED "
            "TRAIN.GRADIENT_CLIP TRAIN.BACKBONE_NCHW TRAIN.FPN_NCHW TRAIN.RPN_NCHW "
            "TRAIN.MASK_NCHW TRAIN.SHOULD_STOP PREPROC.PREDEFINED_PADDING PREPROC.PADDING_SHAPES "
            "RPN.TRAIN_PER_LEVEL_PRE_NMS_TOPK RPN.TRAIN_PER_LEVEL_POST_NMS_TOPK "
            "RPN.TRAIN_IMAGE_POST_NMS_TOPK RPN.UNQUANTIZED_ANCHOR TEST.BOX_TARGET "
            "TEST.MASK_TARGET TEST.BATCH_SIZE_PER_GPU".split()
        )
    )

    former_keys: ClassVar[Mapping[str, str]] = {
        "PREPROC.SHORT_EDGE_SIZE": "PREPROC.TEST_SHORT_EDGE_SIZE"
    }

    proposal_mode: Literal["Level"] = "Level"
    level_candidates: Positive = 2000
    """Number of proposals of each level before suppression."""
    level_proposals: Positive = 1000
    """Number of proposals of each level after suppression."""
    proposals: Positive = 1000
    """Number of proposals of all levels together."""
    min_size: Length = 0.1
    """Number whose quotient by the stride is the minimum side of a proposal, in pixels of the
    resized image."""
    box_head: str | None = Field(None, pattern=r"^boxclass_(2fc|4conv1fc|4conv1fc_gn)_head$")

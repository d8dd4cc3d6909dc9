"""AWS Samples' configuration: TensorPack's, with some keys renamed and some of its own."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from maskrcnn_tensorflow.config import WITHOUT_EFFECT, NetworkConfig, Positive


class AwsSamplesConfig(NetworkConfig):
    """Constants of inference: field, key (MaskRCNN/config.py) and its default."""

    without_effect: ClassVar[frozenset[str]] = WITHOUT_EFFECT | frozenset(
        "TRAIN.WARMUP_STEPS TRAIN.LR_EPOCH_SCHEDULE TRAIN.BATCH_SIZE_PER_GPU TRAIN.SEED "
        "TRAIN.GRADIENT_CLIP TRAIN.BACKBONE_NCHW TRAIN.FPN_NCHW TRAIN.RPN_NCHW TRAIN.MASK_NCHW "
        "TRAIN.SHOULD_STOP PREPROC.PREDEFINED_PADDING PREPROC.PADDING_SHAPES "
        "RPN.TRAIN_PER_LEVEL_PRE_NMS_TOPK RPN.TRAIN_PER_LEVEL_POST_NMS_TOPK "
        "RPN.TRAIN_IMAGE_POST_NMS_TOPK RPN.UNQUANTIZED_ANCHOR TEST.BOX_TARGET TEST.MASK_TARGET "
        "TEST.BATCH_SIZE_PER_GPU RPN.TEST_PER_LEVEL_NMS_TOPK FPN.FRCNN_HEAD_FUNC "
        "FPN.FRCNN_FC_HEAD_DIM FPN.FRCNN_CONV_HEAD_DIM".split()
    )
    """The framework's for training, and TensorPack's names of what has another name here."""

    proposal_mode: Literal["Level"] = Field("Level", alias="FPN.PROPOSAL_MODE")
    level_candidates: Positive = Field(2000, alias="RPN.TEST_PER_LEVEL_PRE_NMS_TOPK")
    """Of each level before suppression."""
    level_proposals: Positive = Field(1000, alias="RPN.TEST_PER_LEVEL_POST_NMS_TOPK")
    """Of each level after it."""
    proposals: Positive = Field(1000, alias="RPN.TEST_IMAGE_POST_NMS_TOPK")
    """Of all levels together."""
    min_size: Annotated[float, Field(ge=0)] = Field(0.1, alias="RPN.MIN_SIZE")
    """Over the stride: the least width and height of a proposal, in pixels of the resized image."""
    fc: int | None = Field(None, alias="FPN.BOXCLASS_FC_HEAD_DIM")
    box_convs: int | None = Field(None, alias="FPN.BOXCLASS_CONV_HEAD_DIM")
    box_head: str | None = Field(
        None, pattern=r"^boxclass_(2fc|4conv1fc|4conv1fc_gn)_head$", alias="FPN.BOXCLASS_HEAD_FUNC"
    )

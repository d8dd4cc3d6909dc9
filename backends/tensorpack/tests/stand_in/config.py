"""A tree of attributes, as global as the original's."""

from typing import Any


class Node:
    def __init__(self, **children: Any) -> None:
        self.__dict__.update(children)

    def freeze(self, _frozen: bool = True) -> None:
        pass


config = Node(
    MODE_FPN=True,
    MODE_MASK=True,
    DATA=Node(TRAIN=(), VAL=(), CLASS_NAMES=[]),
    BACKBONE=Node(RESNET_NUM_BLOCKS=[3, 4, 6, 3], NORM="FreezeBN"),
    FPN=Node(
        NUM_CHANNEL=256,
        NORM="None",
        CASCADE=False,
        FRCNN_HEAD_FUNC="fastrcnn_2fc_head",
        FRCNN_CONV_HEAD_DIM=256,
        FRCNN_FC_HEAD_DIM=1024,
        MRCNN_HEAD_FUNC="maskrcnn_up4conv_head",
    ),
    MRCNN=Node(HEAD_DIM=256),
    RPN=Node(TEST_PER_LEVEL_NMS_TOPK=1000),
    PREPROC=Node(TEST_SHORT_EDGE_SIZE=800, MAX_SIZE=1333),
)


def finalize_configs(is_training: bool) -> None:
    from dataset import DatasetRegistry

    assert not is_training
    config.DATA.CLASS_NAMES = DatasetRegistry.get_metadata(config.DATA.VAL, "class_names")
    print("configured")

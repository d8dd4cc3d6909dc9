"""The TensorPack backend: what sets its checkpoints apart from others of the same names."""

from maskrcnn_server.backend import ModelConfig
from maskrcnn_tensorflow.family import Family
from maskrcnn_tensorflow.folder import ModelFolder, read_folder
from maskrcnn_tensorflow.rows import RowOrder
from maskrcnn_tensorflow.tensorpack_config import TensorPackConfig
from maskrcnn_tensorpack.original import ORIGINAL
from maskrcnn_tensorpack.rules import rules

SCORE_THRESHOLD = 0.5
"""`TEST.RESULT_SCORE_THRESH_VIS`, which the old container filtered by."""

ROWS: RowOrder = "channel first"
"""TensorPack computes in NCHW."""


class TensorPackBackend(Family[TensorPackConfig]):
    """Loads checkpoints of TensorPack's examples/FasterRCNN."""

    def __init__(self) -> None:
        super().__init__(
            name="tensorpack",
            score_threshold=SCORE_THRESHOLD,
            read=_read,
            operators=_operators,
            rules=rules,
            original=ORIGINAL,
        )


def _read(config: ModelConfig) -> ModelFolder[TensorPackConfig]:
    return read_folder(config, ROWS, TensorPackConfig)


def _operators(config: TensorPackConfig) -> object:
    from maskrcnn_tensorpack.operators import operators

    return operators(config)

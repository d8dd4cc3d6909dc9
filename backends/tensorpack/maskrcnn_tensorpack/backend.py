"""The TensorPack backend."""

from maskrcnn_network.checkpoints.rows import RowOrder
from maskrcnn_network.dialect import Dialect
from maskrcnn_network.folder import ModelFolder, read_folder
from maskrcnn_network.tensorpack_config import TensorPackConfig
from maskrcnn_server.backend import ModelConfig
from maskrcnn_tensorpack.original import ORIGINAL
from maskrcnn_tensorpack.rules import rules

SCORE_THRESHOLD = 0.5
"""Default score threshold: `TEST.RESULT_SCORE_THRESH_VIS`, as in the old container."""

ROWS: RowOrder = "channel first"
"""Order of the rows of fc6, because TensorPack computes in NCHW."""

FRAMEWORK_VARIABLES = frozenset({"dataset", "pipedir", "serialize", "train_api"})
"""TensorPack's own variables, such as `TENSORPACK_DATASET`, which only training reads."""


class TensorPackBackend(Dialect[TensorPackConfig]):
    """Loads checkpoints of TensorPack's examples/FasterRCNN."""

    def __init__(self) -> None:
        super().__init__(
            name="tensorpack",
            score_threshold=SCORE_THRESHOLD,
            read=_read,
            rules=rules,
            keys=TensorPackConfig.declared({ORIGINAL.option}, FRAMEWORK_VARIABLES),
            original=ORIGINAL,
        )


def _read(config: ModelConfig) -> ModelFolder[TensorPackConfig]:
    return read_folder(config, ROWS, TensorPackConfig)

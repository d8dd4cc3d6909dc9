"""The TensorPack backend."""

from dataclasses import replace

from maskrcnn_network.checkpoints.rows import RowOrder
from maskrcnn_network.dialect import Dialect
from maskrcnn_network.folder import ModelFolder, read_folder
from maskrcnn_network.sources import TEXTS
from maskrcnn_network.tensorpack_config import TensorPackConfig
from maskrcnn_server.backend import ModelConfig
from maskrcnn_server.engine import ORIGINAL as ENGINE_ORIGINAL
from maskrcnn_server.errors import InvalidSetting
from maskrcnn_server.keys import Keys
from maskrcnn_tensorpack import deepdoctection
from maskrcnn_tensorpack.deepdoctection import DeepdoctectionConfig
from maskrcnn_tensorpack.original import ORIGINAL
from maskrcnn_tensorpack.rules import rules

SCORE_THRESHOLD = 0.5
"""Default score threshold: `TEST.RESULT_SCORE_THRESH_VIS`, as in the old container."""

ROWS: RowOrder = "channel first"
"""Order of the rows of fc6, because TensorPack computes in NCHW."""

FRAMEWORK_VARIABLES = frozenset({"dataset", "pipedir", "serialize", "train_api"})
"""TensorPack's own variables, such as `TENSORPACK_DATASET`, which only training reads."""


class TensorPackBackend(Dialect[TensorPackConfig]):
    """Loads checkpoints of TensorPack's examples/FasterRCNN, and of deepdoctection."""

    def __init__(self) -> None:
        super().__init__(
            name="tensorpack",
            score_threshold=SCORE_THRESHOLD,
            read=_read,
            rules=rules,
            keys=_keys(),
            original=ORIGINAL,
        )


def _keys() -> Keys:
    """The keys of both configurations."""
    own = TensorPackConfig.declared({ORIGINAL.option}, FRAMEWORK_VARIABLES)
    other = DeepdoctectionConfig.declared(())
    return replace(
        own,
        config={*own.config, *other.config},
        without_effect={*own.without_effect, *other.without_effect},
    )


def _read(config: ModelConfig) -> ModelFolder[TensorPackConfig]:
    schema: type[TensorPackConfig] = TensorPackConfig
    texts = TEXTS
    if deepdoctection.is_meant(config):
        schema, texts = DeepdoctectionConfig, deepdoctection.texts(config.model_dir)
        if config.engine == ENGINE_ORIGINAL:
            raise InvalidSetting(
                f"{config.model_dir}: engine original runs TensorPack's own code, but the model is "
                "deepdoctection's: choose another engine"
            )
    return read_folder(config, ROWS, schema, texts=texts)

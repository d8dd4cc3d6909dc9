"""The TensorPack backend: what sets its checkpoints apart from others of the same names."""

from collections.abc import Mapping

from maskrcnn_server.backend import Exporter, Model, ModelConfig, Probe
from maskrcnn_tensorflow.config import NetworkConfig
from maskrcnn_tensorflow.family import Family
from maskrcnn_tensorflow.folder import ModelFolder, read_folder
from maskrcnn_tensorflow.rows import RowOrder

SCORE_THRESHOLD = 0.5
"""`TEST.RESULT_SCORE_THRESH_VIS`, which the old container filtered by."""

ROWS: RowOrder = "channel first"
"""TensorPack computes in NCHW."""


class TensorPackBackend:
    """Loads checkpoints of TensorPack's examples/FasterRCNN."""

    name = "tensorpack"

    def __init__(self) -> None:
        self._family = Family(
            backend=self.name,
            score_threshold=SCORE_THRESHOLD,
            read=_read,
            operators=_operators,
        )

    def probe(self, config: ModelConfig, /) -> Probe | None:
        return self._family.probe(config)

    def load(self, config: ModelConfig, /) -> Model:
        return self._family.load(config)

    def exporters(self) -> Mapping[str, Exporter]:
        return self._family.exporters()


def _read(config: ModelConfig) -> ModelFolder[NetworkConfig]:
    return read_folder(config, ROWS, NetworkConfig)


def _operators(config: NetworkConfig) -> object:
    from maskrcnn_tensorpack.operators import operators

    return operators(config)

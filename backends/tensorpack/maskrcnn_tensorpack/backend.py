"""The TensorPack backend: what sets its checkpoints apart from others of the same names."""

from collections.abc import Mapping

from maskrcnn_server.backend import Exporter, Model, ModelConfig, Probe
from maskrcnn_tensorflow.config import NetworkConfig
from maskrcnn_tensorflow.exporting import exporters
from maskrcnn_tensorflow.folder import ModelFolder, probe_folder, read_folder
from maskrcnn_tensorflow.quiet import quiet
from maskrcnn_tensorflow.rows import RowOrder

SCORE_THRESHOLD = 0.5
"""`TEST.RESULT_SCORE_THRESH_VIS`, which the old container filtered by."""

ROWS: RowOrder = "channel first"
"""TensorPack computes in NCHW."""


class TensorPackBackend:
    """Loads checkpoints of TensorPack's examples/FasterRCNN."""

    name = "tensorpack"

    def probe(self, config: ModelConfig, /) -> Probe | None:
        return probe_folder(config, ROWS, NetworkConfig)

    def load(self, config: ModelConfig, /) -> Model:
        folder = _read(config)
        variables = folder.variables()
        quiet()
        from maskrcnn_tensorflow.model import TensorFlowModel
        from maskrcnn_tensorpack.operators import operators

        metadata = folder.metadata(self.name, SCORE_THRESHOLD, config.score_threshold)
        own = operators(folder.config)
        return TensorFlowModel(metadata, folder.architecture, folder.config, own, variables)

    def exporters(self) -> Mapping[str, Exporter]:
        return exporters(_read, _operators, SCORE_THRESHOLD)


def _read(config: ModelConfig) -> ModelFolder[NetworkConfig]:
    return read_folder(config, ROWS, NetworkConfig)


def _operators(config: NetworkConfig) -> object:
    from maskrcnn_tensorpack.operators import operators

    return operators(config)

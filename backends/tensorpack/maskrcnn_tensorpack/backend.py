"""The TensorPack backend: what sets its checkpoints apart from others of the same names."""

from maskrcnn_tensorflow.checkpoint import channels_last
from maskrcnn_tensorflow.folder import probe_folder, read_folder
from maskrcnn_tensorflow.quiet import quiet

from maskrcnn_server.backend import Model, ModelConfig, Probe

SCORE_THRESHOLD = 0.5
"""`TEST.RESULT_SCORE_THRESH_VIS`, which the old container filtered by."""


class TensorPackBackend:
    """Loads checkpoints of TensorPack's examples/FasterRCNN."""

    name = "tensorpack"

    def probe(self, config: ModelConfig, /) -> Probe | None:
        return probe_folder(config)

    def load(self, config: ModelConfig, /) -> Model:
        folder = read_folder(config)
        variables = folder.variables()
        # TensorPack computes in NCHW.
        variables["fastrcnn/fc6/W"] = channels_last(variables["fastrcnn/fc6/W"])
        quiet()
        from maskrcnn_tensorflow.model import TensorFlowModel

        from maskrcnn_tensorpack.operators import OPERATORS

        metadata = folder.metadata(self.name, SCORE_THRESHOLD)
        return TensorFlowModel(metadata, folder.architecture, folder.config, OPERATORS, variables)

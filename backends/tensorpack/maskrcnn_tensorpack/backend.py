"""The TensorPack backend: what sets its checkpoints apart from others of the same names."""

import os
from pathlib import Path

import numpy as np
from maskrcnn_tensorflow import checkpoint as checkpoints
from maskrcnn_tensorflow.folder import ModelFolder, read_folder
from numpy.typing import NDArray

from maskrcnn_server.backend import Model, ModelConfig, ModelMetadata, Probe
from maskrcnn_server.errors import InvalidModel

SCORE_THRESHOLD = 0.5
"""`TEST.RESULT_SCORE_THRESH_VIS`, which the old container filtered by."""


class TensorPackBackend:
    """Loads checkpoints of TensorPack's examples/FasterRCNN."""

    name = "tensorpack"

    def probe(self, model_dir: Path, /) -> Probe | None:
        try:
            if not checkpoints.find(model_dir):
                return None
            return read_folder(model_dir, {}).probe
        except InvalidModel as error:
            return Probe(facts={}, problems=[error.message])

    def load(self, config: ModelConfig, /) -> Model:
        folder = read_folder(config.model_dir, config.overrides, config.resnet_arch)
        if folder.problems:
            raise InvalidModel("; ".join(folder.problems))
        variables = {name: folder.checkpoint.read(name) for name in folder.architecture.variables()}
        variables["fastrcnn/fc6/W"] = _channels_last(variables["fastrcnn/fc6/W"])

        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
        # TensorFlow takes seconds to import: only now, when it is certain to be needed.
        from maskrcnn_tensorflow.model import TensorFlowModel
        from maskrcnn_tensorpack.operators import OPERATORS

        metadata = _metadata(folder, config)
        return TensorFlowModel(metadata, folder.architecture, folder.config, OPERATORS, variables)


def _channels_last(kernel: NDArray[np.float32]) -> NDArray[np.float32]:
    """fc6's rows in the order y, x, channel; TensorPack computes in NCHW: channel, y, x."""
    rows, units = kernel.shape
    by_axis = kernel.reshape(rows // 49, 7, 7, units)
    return np.ascontiguousarray(by_axis.transpose(1, 2, 0, 3)).reshape(rows, units)


def _metadata(folder: ModelFolder, config: ModelConfig) -> ModelMetadata:
    threshold = config.score_threshold
    if threshold is None:
        threshold = folder.config.score_threshold
    if threshold is None:
        threshold = SCORE_THRESHOLD
    return ModelMetadata(
        name=folder.checkpoint.path.stem,
        backend=TensorPackBackend.name,
        categories=folder.categories,
        score_threshold=threshold,
        has_masks=folder.architecture.has_masks,
        facts=folder.facts,
    )

"""The Matterport backend."""

import re
from pathlib import Path

from maskrcnn_matterport.config import MatterportConfig
from maskrcnn_matterport.keras_file import KerasFile
from maskrcnn_matterport.names import NAMING
from maskrcnn_matterport.original import ORIGINAL
from maskrcnn_matterport.rules import rules
from maskrcnn_matterport.texts import TEXTS
from maskrcnn_network.checkpoints.checkpoint import Files
from maskrcnn_network.checkpoints.refusals import Foreign
from maskrcnn_network.checkpoints.renamed import Renamed
from maskrcnn_network.dialect import Dialect
from maskrcnn_network.folder import ModelFolder, read_folder
from maskrcnn_server.backend import ModelConfig
from maskrcnn_server.errors import InvalidModel

SCORE_THRESHOLD = 0.7
"""Default score threshold: that of `DETECTION_MIN_CONFIDENCE`."""


def _open(path: Path) -> Renamed:
    """Open a file of weights. Raises InvalidModel, Foreign for weights of another network."""
    try:
        return NAMING.open(path)
    except Foreign as error:
        if path.suffix == ".npz" or "mrcnn_class_logits/kernel" not in KerasFile(path).shapes:
            raise
        raise InvalidModel(
            f"{error.message}; its heads are Matterport's, but its backbone is not: BACKBONE was a "
            "function, and only resnet50 and resnet101 are computed"
        ) from None


FILES = Files(
    suffixes=(".npz", ".hdf5", ".h5"),
    open=_open,
    examples="mask_rcnn_balloon_0030.h5 or mask_rcnn_coco.h5",
    step=re.compile(r"_(\d+)$"),
)


class MatterportBackend(Dialect[MatterportConfig]):
    """Loads weights of Matterport's Mask_RCNN and of programs around its `mrcnn/model.py`."""

    def __init__(self) -> None:
        super().__init__(
            name="matterport",
            score_threshold=SCORE_THRESHOLD,
            read=_read,
            rules=rules,
            files=FILES,
            keys=MatterportConfig.declared({ORIGINAL.option}),
            original=ORIGINAL,
        )


def _read(config: ModelConfig) -> ModelFolder[MatterportConfig]:
    return read_folder(config, None, MatterportConfig, FILES, TEXTS)

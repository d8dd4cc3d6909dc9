"""The MMDetection backend."""

import re
from pathlib import Path

from maskrcnn_mmdetection.config import MMDetectionConfig
from maskrcnn_mmdetection.names import NAMING
from maskrcnn_mmdetection.rules import rules
from maskrcnn_mmdetection.texts import embedded, written
from maskrcnn_network.checkpoints.checkpoint import Files
from maskrcnn_network.checkpoints.renamed import Renamed
from maskrcnn_network.dialect import Dialect
from maskrcnn_network.folder import ModelFolder, read_folder
from maskrcnn_server.backend import ModelConfig

SCORE_THRESHOLD = 0.3
"""Default score threshold, as in the demos of MMDetection."""


def _open(path: Path) -> Renamed:
    """Open a file of weights. Raises InvalidModel, first of all for a network that its own
    configuration says is another."""
    embedded(path)
    return NAMING.open(path)


FILES = Files(
    suffixes=(".npz", ".pth", ".safetensors"),
    open=_open,
    examples="epoch_12.pth or iter_90000.pth",
    step=re.compile(r"^(?:epoch|iter)_(\d+)$"),
    final="latest",
)


class MMDetectionBackend(Dialect[MMDetectionConfig]):
    """Loads checkpoints of MMDetection's Mask R-CNN, Cascade Mask R-CNN and Faster R-CNN."""

    def __init__(self) -> None:
        super().__init__(
            name="mmdetection",
            score_threshold=SCORE_THRESHOLD,
            read=_read,
            rules=rules,
            keys=MMDetectionConfig.declared(()),
            files=FILES,
        )


def _read(config: ModelConfig) -> ModelFolder[MMDetectionConfig]:
    checkpoint, _ = FILES.newest(config.model_dir)
    texts = {checkpoint.path.name: embedded, "config.py": written}
    return read_folder(config, "channel first", MMDetectionConfig, FILES, texts)

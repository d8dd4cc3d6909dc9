"""The torchvision backend."""

import re

from maskrcnn_network.checkpoints.checkpoint import Files
from maskrcnn_network.dialect import Dialect
from maskrcnn_network.folder import ModelFolder, read_folder
from maskrcnn_server.backend import ModelConfig
from maskrcnn_torchvision.config import TorchvisionConfig
from maskrcnn_torchvision.names import NAMING
from maskrcnn_torchvision.rules import rules

SCORE_THRESHOLD = 0.5
"""Default score threshold. torchvision itself keeps all detections above 0.05."""

FILES = Files(
    suffixes=(".ckpt", ".npz", ".pt", ".pth", ".pth.tar", ".safetensors"),
    open=NAMING.open,
    examples="model.pth",
    step=re.compile(r"(?:[_=-]|epoch|step|ckpt)(\d+)$"),
)


class TorchvisionBackend(Dialect[TorchvisionConfig]):
    """Loads state dicts of torchvision's Mask R-CNN and Faster R-CNN with ResNet and FPN."""

    def __init__(self) -> None:
        super().__init__(
            name="torchvision",
            score_threshold=SCORE_THRESHOLD,
            read=_read,
            rules=rules,
            keys=TorchvisionConfig.declared(()),
            files=FILES,
        )


def _read(config: ModelConfig) -> ModelFolder[TorchvisionConfig]:
    return read_folder(config, "channel first", TorchvisionConfig, FILES)

"""The Detectron2 backend."""

import re

from maskrcnn_detectron2.config import Detectron2Config
from maskrcnn_detectron2.names import NAMING
from maskrcnn_detectron2.rules import rules
from maskrcnn_network.checkpoints.checkpoint import Files
from maskrcnn_network.dialect import Dialect
from maskrcnn_network.folder import ModelFolder, read_folder
from maskrcnn_server.backend import ModelConfig

SCORE_THRESHOLD = 0.5
"""Default score threshold, as in `demo.py` and the tutorials of Detectron2."""

FILES = Files(
    suffixes=(".ckpt", ".npz", ".pkl", ".pt", ".pth", ".pth.tar", ".safetensors"),
    open=NAMING.open,
    examples="model_final.pth or model_0089999.pth",
    step=re.compile(r"model_(\d{7})$"),
    final="model_final",
)


class Detectron2Backend(Dialect[Detectron2Config]):
    """Loads checkpoints of Detectron2's Mask R-CNN and Faster R-CNN with a ResNet."""

    def __init__(self) -> None:
        super().__init__(
            name="detectron2",
            score_threshold=SCORE_THRESHOLD,
            read=_read,
            rules=rules,
            keys=Detectron2Config.declared((), {"datasets"}),
            files=FILES,
        )


def _read(config: ModelConfig) -> ModelFolder[Detectron2Config]:
    return read_folder(config, "channel first", Detectron2Config, FILES)

"""What every backend of this library can write."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from maskrcnn_server.backend import Exporter, ModelConfig
from maskrcnn_server.errors import InvalidModel
from maskrcnn_tensorflow.folder import ModelFolder
from maskrcnn_tensorflow.quiet import quiet
from maskrcnn_tensorflow.sources import C
from maskrcnn_tensorflow.writing import write_checkpoint, write_npz


def exporters(
    read: Callable[[ModelConfig], ModelFolder[C]],
    operators: Callable[[C], Any],
    score_threshold: float,
) -> Mapping[str, Exporter]:
    """Exporters by format, for a backend that reads folders and has operators like these.

    `npz` and `npz16` are float32 and float16 in TensorPack's names, `checkpoint` is TensorFlow's V2
    format, all with the rows of fc6 as they were; `saved_model` is for TensorFlow Serving.
    """

    def npz(config: ModelConfig, target: Path) -> None:
        folder = _sound(read(config))
        write_npz(folder.checkpoint, folder.architecture, target, np.float32)

    def npz16(config: ModelConfig, target: Path) -> None:
        folder = _sound(read(config))
        write_npz(folder.checkpoint, folder.architecture, target, np.float16)

    def checkpoint(config: ModelConfig, target: Path) -> None:
        folder = _sound(read(config))
        write_checkpoint(folder.checkpoint, folder.architecture, target)

    def saved_model(config: ModelConfig, target: Path) -> None:
        folder = read(config)
        variables = folder.variables()
        quiet()
        from maskrcnn_tensorflow import saved_model

        threshold = folder.metadata("", score_threshold, config.score_threshold).score_threshold
        own = operators(folder.config)
        saved_model.write(target, folder.architecture, folder.config, own, variables, threshold)

    return {"npz": npz, "npz16": npz16, "checkpoint": checkpoint, "saved_model": saved_model}


def _sound(folder: ModelFolder[C]) -> ModelFolder[C]:
    if folder.problems:
        raise InvalidModel("; ".join(folder.problems))
    return folder

"""What the backends of this library do alike: probe, load, and write in other formats."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic

import numpy as np

from maskrcnn_server.backend import Exporter, Model, ModelConfig, Probe
from maskrcnn_server.errors import InvalidModel, InvalidSetting
from maskrcnn_tensorflow.checkpoint import TENSORFLOW, Files
from maskrcnn_tensorflow.folder import ModelFolder
from maskrcnn_tensorflow.quiet import quiet
from maskrcnn_tensorflow.renamed import Foreign
from maskrcnn_tensorflow.sources import C
from maskrcnn_tensorflow.writing import write_checkpoint, write_npz


@dataclass(frozen=True, kw_only=True)
class Family(Generic[C]):
    """The models of one framework: a backend of the server."""

    name: str
    score_threshold: float
    """Of requests that name none, unless it is configured."""
    read: Callable[[ModelConfig], ModelFolder[C]]
    """Reads a model folder. Raises InvalidModel or InvalidSetting."""
    operators: Callable[[C], Any]
    """The framework's `maskrcnn_tensorflow.graph.Operators`; imports TensorFlow when called."""
    files: Files = TENSORFLOW

    def probe(self, config: ModelConfig, /) -> Probe | None:
        if not config.model_dir.is_dir() or not self.files.find(config.model_dir):
            return None
        try:
            return self.read(config).probe
        except Foreign:
            return None
        except (InvalidModel, InvalidSetting) as error:
            return Probe(facts={}, problems=[error.message])

    def load(self, config: ModelConfig, /) -> Model:
        folder = self.read(config)
        variables = folder.variables()
        quiet()
        from maskrcnn_tensorflow.model import TensorFlowModel

        metadata = folder.metadata(self.name, self.score_threshold, config.score_threshold)
        own = self.operators(folder.config)
        return TensorFlowModel(metadata, folder.architecture, folder.config, own, variables)

    def exporters(self) -> Mapping[str, Exporter]:
        """`npz` and `npz16` (float32, float16, TensorPack's names), `checkpoint` (TensorFlow's V2
        format), all with the rows of fc6 as they were; `saved_model` for TensorFlow Serving."""
        return {
            "npz": lambda config, target: self._npz(config, target, np.float32),
            "npz16": lambda config, target: self._npz(config, target, np.float16),
            "checkpoint": self._checkpoint,
            "saved_model": self._saved_model,
        }

    def _npz(self, config: ModelConfig, target: Path, dtype: type[np.floating[Any]]) -> None:
        folder = self._sound(config)
        write_npz(folder.checkpoint, folder.architecture, target, dtype)

    def _checkpoint(self, config: ModelConfig, target: Path) -> None:
        folder = self._sound(config)
        write_checkpoint(folder.checkpoint, folder.architecture, target)

    def _saved_model(self, config: ModelConfig, target: Path) -> None:
        folder = self.read(config)
        variables = folder.variables()
        quiet()
        from maskrcnn_tensorflow import saved_model

        metadata = folder.metadata(self.name, self.score_threshold, config.score_threshold)
        saved_model.write(
            target,
            folder.architecture,
            folder.config,
            self.operators(folder.config),
            variables,
            metadata.score_threshold,
        )

    def _sound(self, config: ModelConfig) -> ModelFolder[C]:
        folder = self.read(config)
        if folder.problems:
            raise InvalidModel("; ".join(folder.problems))
        return folder

"""What the backends of this library do alike: probe, load, and write in other formats."""

import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Generic

from maskrcnn_server.backend import Exporter, Model, ModelConfig, Probe
from maskrcnn_server.errors import InvalidModel, InvalidSetting
from maskrcnn_server.machine import available_cpus
from maskrcnn_tensorflow.checkpoint import TENSORFLOW, Files
from maskrcnn_tensorflow.folder import CLASSES_FILE, ModelFolder
from maskrcnn_tensorflow.onnx_graph.rules import Rules
from maskrcnn_tensorflow.original import Original
from maskrcnn_tensorflow.renamed import Foreign, stored
from maskrcnn_tensorflow.sources import CONFIG_FILE, C
from maskrcnn_tensorflow.tf_environment import freeze_weights, quiet, use_threads
from maskrcnn_tensorflow.writing import (
    Write,
    write_checkpoint,
    write_configuration,
    write_npz,
    write_npz16,
)


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
    rules: Callable[[C], Rules]
    """The same as numbers, for the network in ONNX."""
    files: Files = TENSORFLOW
    original: Original[C] | None = None
    """The framework's own code; None if it is not supported as an engine."""

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
        if config.engine == "original":
            return self._original(config, folder)
        variables = folder.variables()
        quiet()
        if config.dedicated:
            freeze_weights()
            use_threads(config.threads or available_cpus())
        from maskrcnn_tensorflow.model import TensorFlowModel

        metadata = folder.metadata(self.name, self.score_threshold, config.score_threshold)
        if config.precision != "float32":
            facts = {**metadata.facts, "precision": config.precision}
            metadata = replace(metadata, facts=facts)
        return TensorFlowModel(
            metadata,
            folder.architecture,
            folder.config,
            self.operators(folder.config),
            variables,
            config.precision,
        )

    def _original(self, config: ModelConfig, folder: ModelFolder[C]) -> Model:
        if self.original is None:
            raise InvalidSetting(f"backend {self.name} has no engine 'original', only 'native'")
        if config.precision != "float32":
            raise InvalidSetting(f"engine 'original' computes in float32, not {config.precision}")
        self._check(folder)
        metadata = folder.metadata(self.name, self.score_threshold, config.score_threshold)
        return self.original.open(config, folder, metadata)

    def exporters(self) -> Mapping[str, Exporter]:
        """`saved_model` for TensorFlow Serving, `onnx` for the backend of that name."""
        return {"saved_model": self._saved_model, "onnx": self._onnx}

    def converters(self) -> Mapping[str, Exporter]:
        """`npz` and `npz16` (float32, float16) and, of frameworks that use it, `checkpoint`
        (TensorFlow's V2 format): by the framework's own names and in its own layouts."""
        forms: dict[str, Write] = {"npz": write_npz, "npz16": write_npz16}
        if ".index" in self.files.suffixes:
            forms["checkpoint"] = write_checkpoint
        return {name: partial(self._convert, write) for name, write in forms.items()}

    def _convert(self, write: Write, config: ModelConfig, target: Path) -> None:
        folder = self._sound(replace(config, overrides={}))
        target.mkdir(parents=True)
        stem = folder.checkpoint.path.stem
        write(stored(folder.checkpoint, list(folder.architecture.variables())), target / stem)
        write_configuration(folder.configured, target / CONFIG_FILE)
        names = config.model_dir / CLASSES_FILE
        if names.is_file():
            shutil.copyfile(names, target / CLASSES_FILE)

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

    def _onnx(self, config: ModelConfig, target: Path) -> None:
        folder = self._sound(config)
        try:
            from maskrcnn_tensorflow.onnx_graph import file
        except ImportError:
            raise InvalidSetting(
                "onnx is not installed: pip install 'maskrcnn-tensorflow[onnx]'"
            ) from None
        metadata = folder.metadata(self.name, self.score_threshold, config.score_threshold)
        file.write(
            target,
            folder.architecture,
            folder.config,
            self.rules(folder.config),
            folder.variables(),
            metadata,
        )

    def _sound(self, config: ModelConfig) -> ModelFolder[C]:
        folder = self.read(config)
        self._check(folder)
        return folder

    def _check(self, folder: ModelFolder[C]) -> None:
        if folder.problems:
            raise InvalidModel("; ".join(folder.problems))

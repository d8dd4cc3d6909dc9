"""Dialects: how the backends of this library probe, load, and write other formats."""

import shutil
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Generic, Protocol, TypeAlias, runtime_checkable

from maskrcnn_network import calibration
from maskrcnn_network.calibration import Calibration
from maskrcnn_network.checkpoints.checkpoint import TENSORFLOW, Files
from maskrcnn_network.checkpoints.kinds import described
from maskrcnn_network.checkpoints.refusals import Foreign, Unreadable
from maskrcnn_network.checkpoints.renamed import stored
from maskrcnn_network.checkpoints.writing import (
    Write,
    write_configuration,
    write_npz,
    write_npz16,
)
from maskrcnn_network.engine import Session
from maskrcnn_network.folder import CLASSES_FILE, ModelFolder
from maskrcnn_network.graph.network import Network, Variables
from maskrcnn_network.graph.rules import Rules
from maskrcnn_network.model import NetworkModel, Reading
from maskrcnn_network.original import Original
from maskrcnn_network.sources import CONFIG_FILE, C
from maskrcnn_server.backend import (
    Exporter,
    Image,
    LayerChange,
    Model,
    ModelConfig,
    ModelMetadata,
    PredictOptions,
    Probe,
)
from maskrcnn_server.engine import ORIGINAL, Choice, Setup, choose
from maskrcnn_server.errors import InvalidModel, InvalidSetting
from maskrcnn_server.keys import Keys
from maskrcnn_server.machine import available_cpus
from maskrcnn_server.plugins import installed

MEASURED = 4
"""Number of images on which each part is measured."""
OPTIONS = PredictOptions(score_threshold=0.05)

WriteNetwork: TypeAlias = Callable[[Network, Variables, ModelMetadata, Path], None]
"""Function that writes a network, its weights and its metadata to a path."""


@runtime_checkable
class WritesNetworks(Protocol):
    """Ability of an engine to write checkpoints, and networks for other programs."""

    def writers(self) -> Mapping[str, WriteNetwork]:
        """Writers of networks by format, such as `saved_model`."""

    def savers(self) -> Mapping[str, Write]:
        """Writers of variables, as files that dialects load, by format."""


@dataclass(frozen=True, kw_only=True)
class Dialect(Generic[C]):
    """A backend of the server for the models of one framework, on any engine."""

    name: str
    score_threshold: float
    """Default score threshold of requests, unless the model configures its own."""
    read: Callable[[ModelConfig], ModelFolder[C]]
    """Reader of a model folder. Raises InvalidModel or InvalidSetting."""
    rules: Callable[[C], Rules]
    """The framework's rules for a configuration."""
    keys: Keys
    """The keys of the framework's configuration and of the backend's options."""
    files: Files = TENSORFLOW
    original: Original[C] | None = None
    """The framework's own code; None if it is not supported as an engine."""

    def probe(self, config: ModelConfig, /) -> Probe | None:
        if not config.model_dir.is_dir() or not self.files.find(config.model_dir):
            return None
        try:
            probe = self.read(config).probe
            return replace(probe, notes=[*probe.notes, *self._idle_option(config)])
        except (Foreign, Unreadable):
            return None
        except (InvalidModel, InvalidSetting) as error:
            return Probe(facts={}, problems=[error.message])

    def describe_files(self, folder: Path, asked: Collection[str], /) -> list[str]:
        return described(folder, asked)

    def _idle_option(self, config: ModelConfig) -> list[str]:
        """A note about the folder of the framework's own code, if that does not compute."""
        given = self.original and config.options.get(self.original.option)
        if not given or self.original is None or config.engine == ORIGINAL:
            return []
        variable = self.original.variable
        return [f"{variable} has no effect without MASKRCNN_ENGINE={ORIGINAL}"]

    def choice(self, config: ModelConfig, /) -> Choice:
        """The engine that `load` would use. Raises InvalidSetting if there is none."""
        return choose(installed().engines(), config)

    def check_weights(self, config: ModelConfig, /) -> None:
        """Read every variable of the network, and what its engine needs besides. Raises as `load`
        does."""
        folder = self.read(config)
        variables = folder.variables()
        if config.engine == ORIGINAL:
            self._original(config).checkout(config, self.name)
        elif config.precision == "int8":
            calibration.read(config.model_dir, variables)

    def load(self, config: ModelConfig, /) -> Model:
        folder = self.read(config)
        if config.engine == ORIGINAL:
            _check(folder)
            metadata = self._metadata(config, folder)
            return self._original(config).open(config, folder, metadata)
        variables = folder.variables()
        if config.precision != "int8":
            return self._model(config, folder, variables, None)
        found = calibration.read(config.model_dir, variables)
        return self._model(config, folder, variables, found)

    def _model(
        self,
        config: ModelConfig,
        folder: ModelFolder[C],
        variables: Variables,
        calibrated: Calibration | None,
    ) -> NetworkModel:
        choice = self.choice(config)
        setup = Setup(
            device=choice.device,
            precision=config.precision,
            threads=config.threads or available_cpus(),
            streams=config.streams,
            dedicated=config.dedicated,
            ranges=calibrated.ranges if calibrated else None,
        )
        session: Session = choice.engine.open(self._network(folder), variables, setup)
        facts = {
            "engine": choice.engine.name,
            "device": choice.device,
            "precision": config.precision,
            "engine chosen": choice.reason,
            **({"calibrated on": f"{calibrated.images} images"} if calibrated else {}),
            **session.facts,
        }
        metadata = self._metadata(config, folder)
        metadata = replace(metadata, facts={**metadata.facts, **facts})
        return NetworkModel(metadata, _reading(folder), session)

    def calibrate(
        self,
        config: ModelConfig,
        samples: Sequence[Image],
        max_change: float | None,
        report: Callable[[LayerChange], None],
        /,
    ) -> Path:
        """Write `int8.json` into the model folder."""
        folder = self.read(config)
        variables = folder.variables()
        exact = self._model(replace(config, precision="float32"), folder, variables, None)
        layers = self._network(folder).folded(variables, channels_last=False).layers
        parts = calibration.parts(layers)
        ranges = calibration.observed(
            exact, samples, [n for names in parts.values() for n in names]
        )
        finished = Calibration(
            images=len(samples), weights=calibration.digest(variables), ranges=ranges
        )
        if max_change is not None:
            few = samples[:: max(1, len(samples) // MEASURED)][:MEASURED]
            reference = exact.predict(few, OPTIONS)
            for part, names in parts.items():
                alone = finished.only(names)
                model = self._model(replace(config, precision="int8"), folder, variables, alone)
                share = calibration.change(model.predict(few, OPTIONS), reference)
                model.close()
                report(LayerChange(part, share, kept=share > max_change))
                if share > max_change:
                    finished = finished.without(part, names)
        exact.close()
        if not finished.ranges:
            raise InvalidModel(
                f"{config.model_dir}: every part of it changes more than {max_change} of what is "
                "found"
            )
        return finished.write(config.model_dir)

    def _network(self, folder: ModelFolder[C]) -> Network:
        return Network(folder.architecture, folder.config, self.rules(folder.config))

    def _metadata(self, config: ModelConfig, folder: ModelFolder[C]) -> ModelMetadata:
        return folder.metadata(self.name, self.score_threshold, config.score_threshold)

    def _original(self, config: ModelConfig) -> Original[C]:
        if self.original is None:
            raise InvalidSetting(
                f"backend {self.name} cannot run the original code: choose another engine"
            )
        if config.precision != "float32":
            raise InvalidSetting(
                f"engine original computes only in float32, not in {config.precision}"
            )
        return self.original

    def exporters(self) -> Mapping[str, Exporter]:
        """Exporters of the installed engines: `saved_model` (TensorFlow), `onnx` (OpenVINO)."""
        return {
            name: partial(self._export, write)
            for engine in installed().engines().values()
            if isinstance(engine, WritesNetworks)
            for name, write in engine.writers().items()
        }

    def converters(self) -> Mapping[str, Exporter]:
        """`npz` and `npz16` (float32, float16) and, for frameworks that use it, `checkpoint`
        (TensorFlow's V2 format), with the framework's own names and layouts."""
        forms: dict[str, Write] = {"npz": write_npz, "npz16": write_npz16}
        if ".index" in self.files.suffixes:
            for engine in installed().engines().values():
                if isinstance(engine, WritesNetworks):
                    forms |= engine.savers()
        return {name: partial(self._convert, write) for name, write in forms.items()}

    def _convert(self, write: Write, config: ModelConfig, target: Path) -> None:
        folder = self.read(replace(config, overrides={}))
        _check(folder)
        target.mkdir(parents=True)
        stem = folder.checkpoint.path.stem
        write(stored(folder.checkpoint, list(folder.architecture.variables())), target / stem)
        write_configuration(folder.configured, target / CONFIG_FILE)
        names = config.model_dir / CLASSES_FILE
        if names.is_file():
            shutil.copyfile(names, target / CLASSES_FILE)

    def _export(self, write: WriteNetwork, config: ModelConfig, target: Path) -> None:
        folder = self.read(config)
        variables = folder.variables()
        write(self._network(folder), variables, self._metadata(config, folder), target)


def _reading(folder: ModelFolder[Any]) -> Reading:
    config = folder.config
    return Reading(preparation=config.preparation, paste=config.paste, detections=config.detections)


def _check(folder: ModelFolder[Any]) -> None:
    if folder.problems:
        raise InvalidModel("; ".join(folder.problems))

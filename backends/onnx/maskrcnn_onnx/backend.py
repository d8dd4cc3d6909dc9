"""The ONNX backend: models in ONNX, computed by OpenVINO."""

from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from maskrcnn_network.checkpoints.kinds import described
from maskrcnn_onnx.folder import find, read_folder
from maskrcnn_onnx.layouts import NATIVE
from maskrcnn_server.backend import Image, LayerChange, ModelConfig, Probe
from maskrcnn_server.errors import InvalidModel, InvalidSetting
from maskrcnn_server.keys import Keys
from maskrcnn_server.machine import available_cpus
from maskrcnn_server.optional import required

if TYPE_CHECKING:
    from maskrcnn_onnx.foreign import ForeignModel
    from maskrcnn_onnx.model import OnnxModel


class OnnxBackend:
    """Loads Mask R-CNN in ONNX, from `export --format onnx` or from other programs."""

    name = "onnx"
    keys = Keys(options_without_effect={"ml", "namespace"})

    def probe(self, config: ModelConfig, /) -> Probe | None:
        if not config.model_dir.is_dir() or not find(config.model_dir):
            return None
        try:
            return read_folder(config).probe
        except (InvalidModel, InvalidSetting) as error:
            return Probe(facts={}, problems=[error.message])

    def describe_files(self, folder: Path, asked: Collection[str], /) -> list[str]:
        return described(folder, asked)

    def load(self, config: ModelConfig, /) -> "OnnxModel | ForeignModel":
        folder = read_folder(config)
        if folder.problems:
            raise InvalidModel("; ".join(folder.problems))
        from maskrcnn_onnx.foreign import ForeignModel
        from maskrcnn_onnx.model import OnnxModel
        from maskrcnn_onnx.session import OpenVino

        metadata = folder.metadata(self.name, config.score_threshold)
        try:
            session = OpenVino(folder.path, config.threads or available_cpus())
        except InvalidModel as error:
            if folder.layout.fixed_size is None:
                raise
            hint = "it was exported with a fixed size: export it with dynamic_axes"
            raise InvalidModel(f"{error.message}; {hint}") from error
        if folder.layout.name == NATIVE:
            return OnnxModel(metadata, folder.description, session)
        return ForeignModel(metadata, folder.description, folder.layout, session)

    def quantize(
        self,
        config: ModelConfig,
        samples: Sequence[Image],
        target: Path,
        max_change: float | None,
        report: Callable[[LayerChange], None],
        /,
    ) -> None:
        for library in ("onnx", "onnxruntime.quantization"):
            required(library, "maskrcnn-onnx[quantization]")
        from maskrcnn_onnx.quantization import quantize

        quantize(config, self.load(config), samples, target, max_change, report)

"""The ONNX backend: models in ONNX, computed by ONNX Runtime."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from maskrcnn_onnx.folder import find, read_folder
from maskrcnn_onnx.layouts import NATIVE
from maskrcnn_server.backend import Image, LayerChange, ModelConfig, Probe
from maskrcnn_server.errors import InvalidModel, InvalidSetting
from maskrcnn_server.machine import available_cpus

if TYPE_CHECKING:
    from maskrcnn_onnx.foreign import ForeignModel
    from maskrcnn_onnx.model import OnnxModel


class Options(BaseModel):
    """Options of this backend, as `ONNX_<OPTION>`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    runtime: Literal["onnxruntime", "openvino"] = "onnxruntime"
    """What computes."""


class OnnxBackend:
    """Loads what `export --format onnx` writes, and Mask R-CNN as others write it in ONNX."""

    name = "onnx"

    def probe(self, config: ModelConfig, /) -> Probe | None:
        if not config.model_dir.is_dir() or not find(config.model_dir):
            return None
        try:
            _options(config)
            return read_folder(config).probe
        except (InvalidModel, InvalidSetting) as error:
            return Probe(facts={}, problems=[error.message])

    def load(self, config: ModelConfig, /) -> "OnnxModel | ForeignModel":
        runtime = _options(config).runtime
        folder = read_folder(config)
        if folder.problems:
            raise InvalidModel("; ".join(folder.problems))
        from maskrcnn_onnx.foreign import ForeignModel
        from maskrcnn_onnx.model import OnnxModel
        from maskrcnn_onnx.session import RUNTIMES

        metadata = folder.metadata(self.name, config.score_threshold)
        session = RUNTIMES[runtime](folder.path, config.threads or available_cpus())
        if folder.layout.name == NATIVE:
            return OnnxModel(metadata, folder.description, session)
        return ForeignModel(metadata, folder.description, folder.layout, session)

    def quantize(
        self,
        config: ModelConfig,
        samples: Sequence[Image],
        target: Path,
        most_change: float | None,
        report: Callable[[LayerChange], None],
        /,
    ) -> None:
        try:
            from maskrcnn_onnx.quantization import quantize
        except ImportError:
            raise InvalidSetting(
                "onnx is not installed: pip install 'maskrcnn-onnx[quantization]'"
            ) from None
        quantize(config, self.load(config), samples, target, most_change, report)


def _options(config: ModelConfig) -> Options:
    try:
        return Options.model_validate(config.options)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        name = f"ONNX_{str(first['loc'][0]).upper()}"
        raise InvalidSetting(f"{name}={first['input']}: {first['msg']}") from None

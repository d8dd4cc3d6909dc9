"""Model folders with an ONNX file."""

from dataclasses import dataclass, field
from pathlib import Path

from maskrcnn_onnx import description, proto
from maskrcnn_onnx.description import Description
from maskrcnn_onnx.layouts import NATIVE, Layout, recognised
from maskrcnn_server.backend import ModelConfig, ModelMetadata, Probe
from maskrcnn_server.categories import Category, coco
from maskrcnn_server.errors import InvalidModel, InvalidSetting

SUFFIX = ".onnx"


@dataclass(frozen=True, kw_only=True)
class ModelFolder:
    """Everything known about a model before it is loaded."""

    path: Path
    description: Description
    layout: Layout
    categories: tuple[Category, ...]
    facts: dict[str, str]
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def probe(self) -> Probe:
        """What `Backend.probe` returns for this folder."""
        described = self.path.with_name(description.FILE)
        files = [self.path, *([described] if described.is_file() else [])]
        return Probe(facts=self.facts, problems=self.problems, notes=self.notes, files=files)

    def metadata(self, backend: str, asked: float | None) -> ModelMetadata:
        """The model's metadata, with the score threshold that the operator `asked` for, if any."""
        return ModelMetadata(
            name=self.description.name or self.path.stem,
            backend=backend,
            categories=self.categories,
            score_threshold=self.description.score_threshold if asked is None else asked,
            max_detections=self.description.detections,
            has_masks=self.layout.has_masks,
            facts=self.facts,
        )


def find(folder: Path) -> list[Path]:
    """The ONNX files in a folder."""
    return sorted(path for path in folder.glob(f"[!.]*{SUFFIX}") if path.is_file())


def read_folder(config: ModelConfig) -> ModelFolder:
    """Read the model folder without OpenVINO and without weights.

    Raises InvalidModel for an invalid model, InvalidSetting for settings that do not apply.
    """
    _check_settings(config)
    found = find(config.model_dir)
    if len(found) != 1:
        names = ", ".join(path.name for path in found) or "none"
        raise InvalidModel(f"{config.model_dir}: must contain one file *{SUFFIX}, found: {names}")
    path = found[0]
    header = proto.read(path)
    described, own = path.with_name(description.FILE), header.metadata.get(description.KEY)
    if described.is_file():
        said, origin = description.from_file(described), description.FILE
    elif own is not None:
        said, origin = description.from_metadata(own, path), "the file itself"
    else:
        said, origin = Description(), "defaults"
    layout = recognised(header, said, path)
    problems, notes = [], []
    if layout.default is not None:
        said = said.over(layout.default)
    elif origin.startswith("defaults"):
        problems.append(
            f"{path.name}: its layout is unknown, and there is no description of how to prepare "
            f"images: put a {description.FILE} next to it"
        )
    categories = said.categories or coco()
    if config.resnet_arch is not None and said.architecture not in (None, config.resnet_arch):
        problems.append(
            f"{path.name}: RESNET_ARCH is {config.resnet_arch}, but the file contains a "
            f"{said.architecture}: unset RESNET_ARCH, or use the model you meant"
        )
    if origin.startswith("defaults") and layout.default is not None:
        origin = f"assumed to be as usual for {layout.name}"
        notes.append(
            f"preprocessing and classes are {origin}; if not, put a {description.FILE} next to it"
        )
    if layout.fixed_size is not None:
        height, width = layout.fixed_size
        notes.append(
            f"images are resized to fit {width} x {height} pixels, the fixed size of the export; "
            "export with dynamic_axes to allow any size"
        )
    if said.categories is None:
        notes.append(f"class names are assumed to be COCO's; name them in {description.FILE}")
    facts = {
        "model": path.name,
        "size": f"{path.stat().st_size / 1e6:.1f} MB",
        "layout": layout.name,
        "heads": "boxes and masks" if layout.has_masks else "boxes only",
        "described by": origin,
        **({"written by": header.producer} if header.producer and layout.name != NATIVE else {}),
        **({"sha256 of weights": said.source.sha256} if said.source else {}),
        **said.facts,
    }
    return ModelFolder(
        path=path,
        description=said,
        layout=layout,
        categories=categories,
        facts=facts,
        problems=problems,
        notes=notes,
    )


def _check_settings(config: ModelConfig) -> None:
    if config.overrides:
        key = next(iter(config.overrides)).replace(".", "__")
        raise InvalidSetting(
            f"CONFIG__{key}: ONNX models are configured when they are exported, or in "
            f"{description.FILE}"
        )
    if config.engine not in ("auto", "openvino"):
        raise InvalidSetting(
            f"MASKRCNN_ENGINE={config.engine}: ONNX models run on OpenVINO; use auto or openvino"
        )
    if config.device not in ("auto", "cpu"):
        raise InvalidSetting(
            f"MASKRCNN_DEVICE={config.device}: ONNX models run on the CPU; use auto or cpu"
        )
    if config.precision != "float32":
        raise InvalidSetting(
            f"MASKRCNN_PRECISION={config.precision}: ONNX models have the precision of their "
            "export; use float32"
        )

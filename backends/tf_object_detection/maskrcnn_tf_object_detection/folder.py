"""Model folders as the Object Detection API's exporters leave them."""

import re
from dataclasses import dataclass, field
from pathlib import Path

from maskrcnn_network.checkpoints.text_format import Fields, fields, value_of
from maskrcnn_server.backend import ModelConfig, ModelMetadata, Probe
from maskrcnn_server.categories import Category, coco_with_gaps, named, numbered
from maskrcnn_server.errors import InvalidModel, InvalidSetting
from maskrcnn_server.work import TooMuchWork
from maskrcnn_tensorflow.graph_file import SAVED_MODEL, Graph, Tensor, read
from maskrcnn_tf_object_detection.labels import MAX_CLASSES, read_labels

FROZEN = "frozen_inference_graph.pb"
NOT_GRAPHS = ("fingerprint.pb", "keras_metadata.pb")
PIPELINE = "pipeline.config"
NEEDED = ("detection_boxes", "detection_scores", "detection_classes", "num_detections")
MASKS = "detection_masks"
SCORE_THRESHOLD = 0.5
"""Default score threshold, as the API draws detections (`visualization_utils`)."""
COCO_CLASSES = 90
DETECTIONS, MAX_DETECTIONS = 100, 1000
"""Default of the number of detections, where the graph does not say it; and its limit."""
NUMBER = re.compile(r"\d{1,6}")


@dataclass(frozen=True, kw_only=True)
class ModelFolder:
    """Everything known about a model before it is loaded."""

    path: Path
    image: Tensor
    outputs: dict[str, str]
    categories: tuple[Category, ...]
    detections: int
    facts: dict[str, str]
    files: list[Path]
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def probe(self) -> Probe:
        """What `Backend.probe` returns for this folder."""
        return Probe(facts=self.facts, problems=self.problems, notes=self.notes, files=self.files)

    def metadata(self, backend: str, asked: float | None) -> ModelMetadata:
        """The model's metadata, with the score threshold that the operator `asked` for, if any."""
        return ModelMetadata(
            name=self.path.stem,
            backend=backend,
            categories=self.categories,
            score_threshold=SCORE_THRESHOLD if asked is None else asked,
            max_detections=self.detections,
            has_masks=MASKS in self.outputs,
            facts=self.facts,
        )


def find(folder: Path) -> Path | None:
    """The graph in a folder: a SavedModel there or in `saved_model`, or a frozen graph."""
    likely = (folder / SAVED_MODEL, folder / "saved_model" / SAVED_MODEL, folder / FROZEN)
    others = [path for path in sorted(folder.glob("[!.]*.pb")) if path.name not in NOT_GRAPHS]
    found = [path for path in (*likely, *(others if len(others) == 1 else [])) if path.is_file()]
    return found[0] if found else None


def read_folder(config: ModelConfig) -> ModelFolder:
    """Read the model folder without TensorFlow and without weights.

    Raises InvalidModel for an invalid model, InvalidSetting for settings that do not apply.
    """
    _check_settings(config)
    path = find(config.model_dir)
    if path is None:
        raise InvalidModel(f"{config.model_dir}: must contain {SAVED_MODEL} or {FROZEN}")
    graph = read(path)
    missing = [name for name in NEEDED if name not in graph.outputs]
    if missing:
        raise InvalidModel(
            f"{path}: has no {', '.join(missing)}: it was not exported by the Object Detection API"
        )
    image, problems = _image(graph)
    names = (*NEEDED, *([MASKS] if MASKS in graph.outputs else []))
    outputs = {name: graph.outputs[name].name for name in names}
    try:
        graph.used(outputs.values())
        graph.used_to_restore()
    except TooMuchWork:
        raise
    except InvalidModel as error:
        problems.append(error.message)
    pipeline = config.model_dir / PIPELINE
    said = fields(pipeline) if pipeline.is_file() else []
    categories, origin, sources = _categories(config.model_dir, graph, said)
    notes = [f"class names are {origin}; name them in a label map"] if not sources else []
    if image.dims is not None and max(image.dims[1:3]) > 0:
        height, width = image.dims[1:3]
        notes.append(f"images are resized to {width} x {height} pixels, the export's fixed size")
    shape = graph.outputs["detection_scores"].dims
    limit = shape[-1] if shape and shape[-1] > 0 else _number(said, "max_total_detections")
    extractor = value_of(said, "type")
    facts = {
        "model": str(path.relative_to(config.model_dir)),
        "size": f"{path.stat().st_size / 1e6:.1f} MB",
        "heads": "boxes and masks" if MASKS in outputs else "boxes only",
        "class names": origin,
        **({"feature extractor": extractor} if extractor else {}),
        **({"written by": f"TensorFlow {graph.version}"} if graph.version else {}),
    }
    weights = path.parent.glob("variables/variables.*")
    return ModelFolder(
        path=path,
        image=image,
        outputs=outputs,
        categories=categories,
        detections=min(limit or DETECTIONS, MAX_DETECTIONS),
        facts=facts,
        files=[path, *weights, *([pipeline] if said else []), *sources],
        problems=[f"{path}: {problem}" for problem in problems],
        notes=notes,
    )


def _image(graph: Graph) -> tuple[Tensor, list[str]]:
    """The graph's input, and why images cannot be given to it as they are."""
    if len(graph.inputs) != 1:
        return Tensor(""), [f"takes {', '.join(graph.inputs) or 'nothing'} instead of one image"]
    (image,) = graph.inputs.values()
    if image.dtype == "string":
        problem = "takes encoded images; export it with --input_type image_tensor"
    elif image.dtype not in ("uint8", "float32"):
        problem = f"takes {image.dtype}, but images are uint8"
    elif image.dims is not None and (
        len(image.dims) != 4 or image.dims[0] not in (-1, 1) or image.dims[3] not in (-1, 3)
    ):
        problem = f"takes {list(image.dims)}, but images are [1, height, width, 3]"
    else:
        return image, []
    return image, [problem]


def _categories(
    folder: Path, graph: Graph, said: Fields
) -> tuple[tuple[Category, ...], str, list[Path]]:
    """The categories, where their names come from, and in which files they are."""
    count = _number(said, "num_classes")
    scores = graph.outputs.get("detection_multiclass_scores", Tensor("")).dims
    if count is None and scores and scores[-1] > 1:
        count = scores[-1] - 1
    maps = {path: read_labels(path) for path in sorted(folder.glob("[!.]*.pbtxt"))}
    found = {path: names for path, names in maps.items() if names}
    if len(found) > 1:
        names = ", ".join(path.name for path in found)
        raise InvalidModel(f"{folder}: several label maps, keep one of them: {names}")
    for path, own in found.items():
        last = min(max(count or 0, *own), MAX_CLASSES)
        return named([own.get(i, f"class_{i}") for i in range(1, last + 1)]), path.name, [path]
    if count in (None, COCO_CLASSES):
        return coco_with_gaps(), "assumed to be COCO's", []
    return numbered(min(count, MAX_CLASSES)), "numbered, because there are none", []


def _number(said: Fields, name: str) -> int | None:
    value = value_of(said, name)
    return int(value) if value is not None and NUMBER.fullmatch(value) else None


def _check_settings(config: ModelConfig) -> None:
    if config.overrides:
        key = next(iter(config.overrides)).replace(".", "__")
        raise InvalidSetting(f"CONFIG__{key}: the graph was configured when it was exported")
    if config.resnet_arch is not None:
        raise InvalidSetting("RESNET_ARCH: a graph does not say what it is; unset it")
    for variable, value, allowed in (
        ("ENGINE", config.engine, ("auto", "tensorflow")),
        ("DEVICE", config.device, ("auto", "cpu")),
        ("PRECISION", config.precision, ("float32",)),
    ):
        if value not in allowed:
            raise InvalidSetting(
                f"MASKRCNN_{variable}={value}: exported graphs run on TensorFlow, on the CPU and "
                f"in the precision of their export; use {' or '.join(allowed)}"
            )

"""MMDetection's configuration in Python, which is read as text: nothing is executed."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from maskrcnn_mmdetection.computed import ONLY, TRANSFORMS
from maskrcnn_mmdetection.config import MMDetectionConfig
from maskrcnn_mmdetection.names import TrainedState
from maskrcnn_network.literals import COMPUTED, MAX_SOURCE_BYTES, assigned
from maskrcnn_network.sources import Said
from maskrcnn_server.errors import InvalidModel
from maskrcnn_server.remembering import read_once

FORMER = {
    "nms_thr": "nms.iou_threshold",
    "nms.iou_thr": "nms.iou_threshold",
    "nms_post": "max_per_img",
}
"""Keys of `test_cfg` today, by those of early versions 2."""


def embedded(path: Path) -> Said:
    """The configuration and class names in a checkpoint's `meta`.

    Raises InvalidModel for a network that is not computed, and names the key that says so.
    """
    if path.suffix != ".pth":
        return {}, None
    meta = read_once(TrainedState, path).meta
    source = meta.get("cfg") or meta.get("config")
    if not isinstance(source, str):
        return {}, f"{path.name} holds no configuration: config.py or the defaults count"
    try:
        found = assigned(source, path.name)
    except InvalidModel as error:
        return {}, f"its configuration is not read: {error.message}"
    if not isinstance(found.get("model"), dict):
        return {}, f"{path.name} holds no configuration of a model: config.py or the defaults count"
    said = _said(found, str(path))
    data = meta.get("dataset_meta")
    data = data if isinstance(data, Mapping) else {}
    names = meta.get("CLASSES") or data.get("classes") or data.get("CLASSES")
    if isinstance(names, list | tuple) and all(isinstance(name, str) for name in names):
        said["dataset_meta.classes"] = list(names)
    return said, None


def written(path: Path) -> Said:
    """The configuration in a file of Python.

    Raises InvalidModel if it is not Python, or configures what is not computed.
    """
    with path.open("rb") as file:
        source = file.read(MAX_SOURCE_BYTES + 1).decode(errors="replace")
    found = assigned(source, str(path))
    base = found.get("_base_")
    note = f"{path.name} is based on {base}, which is not read: use the file in the work_dir"
    return _said(found, str(path)), note if base else None


def _said(config: Mapping[str, Any], origin: str) -> dict[str, Any]:
    """Values by key. Raises InvalidModel for one that is not computed."""
    found = {key: value for key, value in _canonical(config) if value is not COMPUTED}
    for key, value in found.items():
        allowed = ONLY.get(key)
        if allowed is not None and value not in allowed:
            said = " or ".join(str(one) for one in allowed)
            raise InvalidModel(f"{origin}: {key}={str(value)[:100]}, but only {said} is computed")
    return {key: value for key, value in found.items() if key in MMDetectionConfig.fields_by_key}


def _canonical(config: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Keys with version 3's names, and their values."""
    model = _mapping(config.get("model"))
    yield from _flat({k: v for k, v in model.items() if k != "test_cfg"}, "model.")
    heads = _mapping(model.get("roi_head"))
    if heads.get("mask_head") and heads.get("mask_roi_extractor", True) is None:
        yield (
            "model.roi_head.mask_roi_extractor.roi_layer.output_size",
            "that of bbox_roi_extractor",
        )
    test = _mapping(model.get("test_cfg")) or _mapping(config.get("test_cfg"))
    for part in ("rpn", "rcnn"):
        values = dict(_flat(_mapping(test.get(part)), ""))
        for key, value in values.items():
            if FORMER.get(key) not in values:
                yield f"model.test_cfg.{part}.{FORMER.get(key, key)}", value
    yield from _prepared(config, _mapping(model.get("data_preprocessor")))


def _prepared(
    config: Mapping[str, Any], preprocessor: Mapping[str, Any]
) -> Iterator[tuple[str, Any]]:
    """How images are prepared, with MMDetection's values of what is left out."""
    sets = [_mapping(_mapping(config.get("data")).get("test"))]
    sets += [_mapping(_mapping(config.get("test_dataloader")).get("dataset"))]
    pipelines = [*(own.get("pipeline") for own in sets), config.get("test_pipeline")]
    usual = {"mean": [0, 0, 0], "std": [1, 1, 1], "bgr_to_rgb": False, "pad_size_divisor": 1}
    normalised = {**usual, **preprocessor} if preprocessor else {}
    for step in _steps(next(filter(None, pipelines), None)):
        name = _last(step.get("type"))
        if name not in TRANSFORMS:
            raise InvalidModel(f"test_pipeline: {name} is not computed")
        if name == "Normalize":
            normalised = {**usual, **normalised, "bgr_to_rgb": step.get("to_rgb", True)}
            normalised |= {key: step[key] for key in ("mean", "std") if key in step}
        elif name == "Pad":
            normalised["pad_size_divisor"] = step.get("size_divisor")
        for key, value in step.items():
            named = "Resize.scale" if key == "img_scale" else f"{name}.{key}"
            yield f"test_pipeline.{named}", value
    for key in usual:
        if normalised.get(key) is not None:
            yield f"model.data_preprocessor.{key}", normalised[key]


def _steps(steps: Any) -> Iterator[dict[str, Any]]:
    """The steps of a pipeline, and those within `MultiScaleFlipAug`."""
    for step in steps if isinstance(steps, list) else ():
        if isinstance(step, dict):
            yield {key: value for key, value in step.items() if key != "transforms"}
            yield from _steps(step.get("transforms"))


def _flat(tree: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
    """The leaves of nested dictionaries, by their path; those of a list of dictionaries as a list,
    unless all are the same."""
    for name, value in tree.items():
        key = f"{prefix}{name}"
        if key in ONLY:
            yield key, _last(value) if name == "type" else value
        elif isinstance(value, dict):
            yield from _flat(value, f"{key}.")
        elif isinstance(value, list) and value and all(isinstance(v, dict) for v in value):
            each = [dict(_flat(item, f"{key}.")) for item in value]
            for path in dict.fromkeys(path for leaves in each for path in leaves):
                own = [leaves.get(path) for leaves in each]
                yield path, own[0] if all(leaf == own[0] for leaf in own) else own
        else:
            yield key, _last(value) if name == "type" else value


def _last(kind: Any) -> Any:
    """A component's name without its module."""
    return kind.rpartition(".")[2] if isinstance(kind, str) else kind


def _mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}

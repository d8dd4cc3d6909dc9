"""A model folder: the checkpoint in it, how it is configured, and whether it can be served."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic

import numpy as np
from numpy.typing import NDArray

from maskrcnn_network import architecture as architectures
from maskrcnn_network import sources
from maskrcnn_network.architecture import Architecture
from maskrcnn_network.checkpoints.checkpoint import (
    MAX_NUMBERS,
    TENSORFLOW,
    Checkpoint,
    Files,
)
from maskrcnn_network.checkpoints.differences import differences
from maskrcnn_network.checkpoints.rows import ORIGIN, RowOrder, channels_last, observed
from maskrcnn_network.config import NetworkConfig
from maskrcnn_network.sources import TEXTS, C, Configuration, Texts
from maskrcnn_server.backend import ModelConfig, ModelMetadata, Probe
from maskrcnn_server.categories import Category, named, numbered
from maskrcnn_server.errors import InvalidModel
from maskrcnn_server.remembering import read_once, remembered

VARIANCE = "variance/EMA"
"""End of the names of batch norms' variances."""
CLASSES_FILE = "classes.txt"
MAX_CLASSES_BYTES = 1 << 20
"""Maximum size of a list of class names."""
INT8_FILE = "int8.json"
"""File that `calibration` writes next to the weights."""
BACKGROUND_NAMES = ("BG", "background", "__background__")
NOT_IN_WEIGHTS = frozenset(
    "short_edge max_size proposal_mode proposals proposal_nms_threshold detections tf_pad_mode "
    "anchor_sizes anchor_ratios proposal_score_floor agnostic_nms_threshold "
    "detection_nms_threshold stride_1x1 dilation pixel_mean pixel_std channels norm_epsilon "
    "resize_mode min_scale width_ratios proposal_candidates proposal_std box_std "
    "anchor_scales bgr_to_rgb level_candidates style".split()
)
"""Fields of the configuration that affect results but do not show in the weights."""


@dataclass(frozen=True, kw_only=True)
class ModelFolder(Generic[C]):
    """Everything about a model except its weights. It can be served if it has no problems."""

    checkpoint: Checkpoint
    architecture: Architecture
    config: C
    categories: tuple[Category, ...]
    rows: RowOrder | None
    """Order in which the backend reads the rows of fc6. None: y, x, channel, as their file says."""
    configured: Mapping[str, Any]
    """Configured values by the framework's keys."""
    facts: Mapping[str, str]
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    texts: Texts = field(default_factory=lambda: TEXTS)
    """Further files of the configuration."""

    @property
    def probe(self) -> Probe:
        """What `Backend.probe` returns for this folder."""
        return Probe(
            facts=self.facts, problems=self.problems, notes=self.notes, files=self._files()
        )

    def _files(self) -> list[Path]:
        path = self.checkpoint.path
        data = path.parent.glob(f"{path.stem}.data-*") if path.suffix == ".index" else ()
        names = (CLASSES_FILE, *sources.CONFIG_FILES, *self.texts, INT8_FILE)
        others = (path.with_name(name) for name in names)
        found = (file for file in others if file.is_file() and file != path)
        return [path, *sorted(data), *found]

    def metadata(self, backend: str, default: float, asked: float | None) -> ModelMetadata:
        """The model's metadata.

        Its score threshold is the one that the operator `asked` for, else the configured one or the
        backend's `default`, raised to the framework's own minimum.
        """
        configured = self.config.score_threshold
        threshold = max(default if configured is None else configured, self.config.score_floor)
        return ModelMetadata(
            name=self.checkpoint.path.stem,
            backend=backend,
            categories=self.categories,
            score_threshold=threshold if asked is None else asked,
            max_detections=self.config.detections,
            has_masks=self.architecture.has_masks,
            facts=self.facts,
        )

    def variables(self) -> dict[str, NDArray[np.float32]]:
        """The values of the network's variables; rows of flattened regions are channel last.

        Raises InvalidModel if the folder has problems, values are NaN or infinite, or variances of
        batch norms are negative.
        """
        if self.problems:
            raise InvalidModel("; ".join(self.problems))
        with np.errstate(over="ignore"):
            values = {name: self.checkpoint.read(name) for name in self.architecture.variables()}
        bad = [name for name, value in values.items() if not np.isfinite(value).all()]
        if bad:
            raise InvalidModel(
                f"{self.checkpoint.path}: {len(bad)} variables hold NaN or infinity ({bad[0]}): "
                "the training diverged; serve an earlier checkpoint"
            )
        least = -self.config.norm_epsilon
        bad = [n for n, value in values.items() if n.endswith(VARIANCE) and value.min() <= least]
        if bad:
            raise InvalidModel(
                f"{self.checkpoint.path}: {len(bad)} variances are negative ({bad[0]}): the file "
                "is damaged"
            )
        if self.rows == "channel first":
            for name in self.architecture.flattening:
                values[name] = channels_last(values[name])
        return values


def read_folder(
    config: ModelConfig,
    rows: RowOrder | None,
    schema: type[C],
    files: Files = TENSORFLOW,
    texts: Texts = TEXTS,
) -> ModelFolder[C]:
    """Read the model folder without TensorFlow, and only the weights needed to check it.

    `rows` is the order in which the backend reads the rows of fc6, or None if the file says it;
    `texts` are read for the configuration.

    Raises InvalidModel without a usable checkpoint, InvalidSetting for an invalid override.
    """
    model_dir, resnet_arch = config.model_dir, config.resnet_arch
    found, passed_over = files.newest(model_dir)
    checkpoint = files.open(found.path)
    architecture = architectures.read_off(checkpoint.shapes)
    configuration = sources.read(config, schema, texts)
    configured = configuration.network
    network = configured.settled(architecture)
    problems = differences(checkpoint.shapes, architecture)
    numbers = sum(map(math.prod, architecture.variables().values()))
    if numbers > MAX_NUMBERS:
        problems.append(f"the weights are {numbers} numbers, more than {MAX_NUMBERS}")
    problems += configured.contradictions(architecture)
    if resnet_arch not in (None, architecture.name):
        problems.append(
            f"RESNET_ARCH is {resnet_arch}, but the weights are those of a {architecture.name}: "
            "unset RESNET_ARCH, or use the checkpoint you meant"
        )
    categories, origin = _categories(model_dir, architecture.classes, configuration, problems)
    found_rows = _row_order(checkpoint, architecture, problems) if rows else None
    if found_rows not in (None, rows):
        problems.append(
            f"the rows of {architecture.flattening[0]} are {found_rows}, as written by "
            f"{ORIGIN[found_rows]}, but this backend reads them {rows}: set MASKRCNN_BACKEND or "
            "AWS_SAMPLES_VARIANT to match the checkpoint"
        )
    step = "unknown" if found.step is None else str(found.step)
    facts = {
        "checkpoint": found.path.name,
        "step": step,
        "size": f"{found.size / 1e6:.1f} MB",
        "architecture": architecture.description,
        "heads": "boxes and masks" if architecture.has_masks else "boxes only",
        "classes": f"{architecture.classes}: {_abridged([c.name for c in categories])}",
        "class names": origin,
        **({"fc6 rows": _rows_fact(found_rows)} if rows else {}),
        "resize": network.preparation.description,
        **_configuration_facts(configuration, network),
    }
    notes = list(configuration.notes)
    if passed_over:
        notes.append(f"{found.path.name} is served, not {_abridged(passed_over)}")
    if origin.startswith(("assumed", "numbered")):
        notes.append(f"class names are {origin}; put a classes.txt next to the checkpoint")
    return ModelFolder(
        checkpoint=checkpoint,
        architecture=architecture,
        config=network,
        categories=categories,
        rows=rows,
        configured=configuration.values,
        facts=facts,
        problems=[f"{found.path.name}: {problem}" for problem in problems],
        notes=notes,
        texts=texts,
    )


def _rows_fact(found: RowOrder | None) -> str:
    return "order not visible in the weights" if found is None else f"{found}: {ORIGIN[found]}"


def _row_order(
    checkpoint: Checkpoint, architecture: Architecture, problems: list[str]
) -> RowOrder | None:
    """The row order that the weights show. None if it does not show, or there are problems."""
    if problems or not architecture.flattening:
        return None
    name = architecture.flattening[0]
    return remembered(lambda: observed(checkpoint.read(name)), checkpoint, name)


def _configuration_facts(configuration: Configuration[C], network: NetworkConfig) -> dict[str, str]:
    """Settings that do not show in the weights, by source; `network` is settled."""
    by_origin: dict[str, list[str]] = {}
    for key, field_name in network.fields_by_key.items():
        if field_name in NOT_IN_WEIGHTS:
            value = getattr(network, field_name)
            shown = list(value) if isinstance(value, tuple) else value
            by_origin.setdefault(configuration.origin(key), []).append(f"{key}={shown}")
    return {f"from {origin}": ", ".join(keys) for origin, keys in by_origin.items()}


def _categories(
    model_dir: Path, count: int, configuration: Configuration[C], problems: list[str]
) -> tuple[tuple[Category, ...], str]:
    """The categories, and where their names come from."""
    path = model_dir / CLASSES_FILE
    if path.is_file():
        lines = read_once(_text, path).splitlines()
        names, origin = [line.strip() for line in lines if line.strip()], "classes.txt"
    elif (given := configuration.network.class_names) is not None:
        names, origin = list(given), configuration.origin(configuration.network.key("class_names"))
    elif (layout := configuration.network.coco_layouts.get(count)) is not None:
        return layout(), f"assumed to be COCO's, because there are {count}"
    else:
        return numbered(count), "numbered, because there are none"
    if len(names) == count + 1 and names[0] in BACKGROUND_NAMES:
        names = names[1:]
    if len(names) != count:
        problems.append(
            f"{origin} names {len(names)} classes, but the weights have {count} (without "
            "background): list one name for each class"
        )
        return numbered(count), origin
    for layout in configuration.network.coco_layouts.values():
        if [category.name for category in layout()] == names:
            return layout(), origin
    return named(names), origin


def _text(path: Path) -> str:
    with path.open("rb") as file:
        data = file.read(MAX_CLASSES_BYTES + 1)
    if len(data) > MAX_CLASSES_BYTES:
        raise InvalidModel(f"{path}: larger than {MAX_CLASSES_BYTES} bytes: list one name a line")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InvalidModel(f"{path}: not UTF-8 ({error})") from None


def _abridged(names: list[str]) -> str:
    return ", ".join(names[:6]) + (", ..." if len(names) > 6 else "")

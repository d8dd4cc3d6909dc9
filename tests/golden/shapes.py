"""How many of the shapes that were drawn in the demo's validation pictures a model finds."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from maskrcnn_server.backend import Image, Model, PredictOptions
from maskrcnn_server.detections import Detections

PICTURES = 20


class Tally(NamedTuple):
    """Counts of objects."""

    hits: int
    """Drawn, and found in place and with their class."""
    drawn: int
    found: int


def tally(model: Model, photograph: Callable[[str], Image], test_data: Path) -> Tally:
    """Count what `model` finds at a score of 0.5 or more in twenty pictures."""
    truth = json.loads((test_data / "demo/val200/instances.json").read_text())
    hits = drawn = seen = 0
    for picture in truth["images"][:PICTURES]:
        objects = [a for a in truth["annotations"] if a["image_id"] == picture["id"]]
        image = photograph(f"demo/val200/images/{picture['file_name']}")
        (found,) = model.predict([image], PredictOptions(score_threshold=0.5))
        hits += sum(_is_found(a["bbox"], a["category_id"], found) for a in objects)
        drawn += len(objects)
        seen += len(found)
    return Tally(hits, drawn, seen)


def _is_found(bbox: list[float], category: int, found: Detections) -> bool:
    """Whether a detection of the category overlaps the box by half of their union."""
    low, high = np.array(bbox[:2]), np.array(bbox[:2]) + bbox[2:]
    overlap = np.minimum(high, found.boxes[:, 2:]) - np.maximum(low, found.boxes[:, :2])
    shared = overlap.clip(0).prod(axis=1)
    areas = (found.boxes[:, 2:] - found.boxes[:, :2]).prod(axis=1)
    ious = shared / ((high - low).prod() + areas - shared)
    return bool((ious[found.category_ids == category] > 0.5).any())

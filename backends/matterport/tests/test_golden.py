"""Matterport's own outputs on known weights, reproduced by every engine in float32."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from maskrcnn_matterport.backend import MatterportBackend
from maskrcnn_network.engine import RunOptions, ShowsStages
from maskrcnn_network.model import NetworkModel
from maskrcnn_server.backend import Image, ModelConfig, PredictOptions
from maskrcnn_server.plugins import installed

TOLERANCE = 1e-4
"""Largest difference of normalised coordinates, scores and mask probabilities."""
TIED_TOLERANCE = 1e-3
"""Largest difference of the sorted scores of detections without area: float noise decides which
place on the black canvas they are at."""
MODES: dict[str, tuple[str, int, dict[str, str]]] = {
    "resnet50-pad64-chelsea": (
        "resnet50",
        81,
        {"IMAGE_RESIZE_MODE": "pad64", "IMAGE_MIN_DIM": "448"},
    ),
    "resnet101-5-chelsea": (
        "resnet101",
        5,
        {"IMAGE_MIN_DIM": "256", "IMAGE_MAX_DIM": "512", "IMAGE_MIN_SCALE": "2"},
    ),
    "resnet50-astronaut": ("resnet50", 81, {}),
}
Floats = NDArray[np.float32]


def matched(found: Floats, wanted: Floats) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Index of the row of `found` (y1, x1, y2, x2, class, score) that is nearest to each wanted row
    of its class, and whether it is the same."""
    apart = np.abs(found[:, None, :4] - wanted[None, :, :4]).max(axis=2)
    apart[found[:, None, 4] != wanted[None, :, 4]] = np.inf
    scores = np.abs(found[:, None, 5] - wanted[None, :, 5])
    nearest = (apart + scores).argmin(axis=0)
    each = np.arange(len(wanted))
    return nearest, (np.maximum(apart, scores)[nearest, each] <= TOLERANCE)


def tied(rows: Floats) -> NDArray[np.bool_]:
    """Rows of which rounding decides whether they are found.

    Those without area are of the black canvas, all places of which look the same; those of the
    lowest score are the last of a hundred, with others of that score left out.
    """
    empty = (rows[:, 2] <= rows[:, 0]) | (rows[:, 3] <= rows[:, 1])
    return np.asarray(empty | (rows[:, 5] <= rows[:, 5].min() + 1e-6))


@pytest.mark.full
@pytest.mark.parametrize("engine", sorted(installed().engines()))
@pytest.mark.parametrize("case", MODES)
def test_full_size_network_finds_what_the_original_found(
    case: str,
    engine: str,
    full_size: Callable[[str, int], Path],
    photograph: Callable[[str], Image],
    test_data: Path,
) -> None:
    architecture, classes, settings = MODES[case]
    config = ModelConfig(
        model_dir=full_size(architecture, classes), engine=engine, overrides=settings
    )
    model = MatterportBackend().load(config)
    golden = dict(np.load(test_data / f"golden/matterport-{case}.npz"))
    image = photograph(f"images/{case.rpartition('-')[2]}.png")
    assert_raw(model, image, golden)
    assert_pasted(model, image, golden)
    model.close()


def assert_raw(model: Any, image: Image, golden: dict[str, NDArray[Any]]) -> None:
    """Every row has its twin, and there are no others; rows of the canvas are as many."""
    assert isinstance(model, NetworkModel)
    assert isinstance(model.session, ShowsStages)
    rule = model.reading.preparation
    size = rule.resized_size((image.shape[0], image.shape[1]))
    assert rule.padded_size(size) == tuple(golden["molded_shape"][:2])
    options = RunOptions(score_threshold=0.05, limit=100, proposals=True)
    output = model.session.run([image], [size], options)
    columns = output.boxes[:, [1, 0, 3, 2]], output.labels[:, None], output.scores[:, None]
    found, wanted = np.concatenate(columns, axis=1).astype(np.float32), golden["raw_detections"]
    nearest, same = matched(found, wanted)
    assert len(found) == len(wanted)
    assert (same | tied(wanted)).all()
    assert (matched(wanted, found)[1] | tied(found)).all()
    assert np.abs(np.sort(found[:, 5]) - np.sort(wanted[:, 5])).max() <= TIED_TOLERANCE
    assert output.masks is not None
    assert np.abs(output.masks[nearest] - golden["raw_masks"])[same].max() <= TOLERANCE
    assert output.proposals is not None
    proposals = output.proposals.boxes[:, [1, 0, 3, 2]]
    apart = np.abs(proposals[:, None] - golden["raw_proposals"][None]).max(axis=2).min(axis=0)
    assert (apart <= TOLERANCE).mean() >= 0.99


def assert_pasted(model: Any, image: Image, golden: dict[str, NDArray[Any]]) -> None:
    """Boxes are on the same whole pixels, and masks differ in one pixel at most."""
    (found,) = model.predict([image], PredictOptions(score_threshold=0.05))
    assert found.masks is not None
    columns = found.boxes[:, [1, 0, 3, 2]], found.category_ids[:, None], found.scores[:, None]
    ours = np.concatenate(columns, axis=1).astype(np.float32)
    keys = golden["boxes_yxyx"], golden["class_ids"][:, None], golden["scores"][:, None]
    nearest, same = matched(ours, np.concatenate(keys, axis=1).astype(np.float32))
    assert len(ours) == len(same)
    assert (same | tied(golden["raw_detections"])[: len(same)]).all()
    bitmaps = np.unpackbits(golden["masks_packed"], axis=2)[:, :, : image.shape[1]]
    rles = found.masks.rle("rows")
    for i, bitmap in enumerate(bitmaps):
        if same[i]:
            assert (rles[nearest[i]].bitmap() != bitmap.astype(bool)).sum() <= 1

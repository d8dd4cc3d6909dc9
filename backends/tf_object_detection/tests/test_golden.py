"""Exports give what the original's own code found: boxes, scores, classes, and pasted masks."""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from maskrcnn_server.backend import Image, Model, ModelConfig, PredictOptions
from maskrcnn_tf_object_detection.backend import TFObjectDetectionBackend

DATA = Path(__file__).with_name("data")
EVERYTHING = PredictOptions(score_threshold=0.0)
FOLDERS = {
    "SavedModel of TensorFlow 2": ("tf2", ""),
    "the SavedModel alone": ("tf2", "saved_model"),
    "boxes only": ("tf2-boxes", ""),
    "frozen graph of TensorFlow 1": ("tf1", "frozen_inference_graph.pb"),
    "SavedModel of TensorFlow 1": ("tf1", "saved_model"),
}


NAMES = [pytest.param(name, marks=pytest.mark.full if i else ()) for i, name in enumerate(FOLDERS)]


@pytest.fixture(params=NAMES, scope="module")
def served(
    request: pytest.FixtureRequest,
    exported: Callable[[str], Path],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[tuple[str, Model]]:
    name, part = FOLDERS[request.param]
    folder = exported(name) / part
    if folder.is_file():
        (alone := tmp_path_factory.mktemp("frozen") / folder.name).symlink_to(folder)
        folder = alone.parent
    model = TFObjectDetectionBackend().load(ModelConfig(model_dir=folder))
    yield name, model
    model.close()


@pytest.mark.parametrize("image", ["chelsea", "astronaut"])
def test_detections_are_the_originals(
    image: str, served: tuple[str, Model], picture: Callable[[str], Image]
) -> None:
    name, model = served
    golden = np.load(DATA / f"{name}-{image}.npz")
    pixels = picture(image)
    (found,) = model.predict([pixels], EVERYTHING)
    count = int(golden["num_detections"])
    height, width = found.size
    ends = np.array([height, width, height, width])
    boxes = (golden["detection_boxes"][:count] * ends)[:, [1, 0, 3, 2]]
    np.testing.assert_allclose(found.boxes, boxes, atol=1e-3)
    np.testing.assert_allclose(found.scores, golden["detection_scores"][:count], atol=1e-5)
    assert found.category_ids.tolist() == golden["detection_classes"][:count].tolist()
    if "pasted" not in golden:
        assert found.masks is None
        return
    assert found.masks is not None
    pasted = np.unpackbits(golden["pasted"])[: count * height * width].astype(np.bool_)
    for order in ("rows", "columns"):
        bitmaps = np.stack([rle.bitmap() for rle in found.masks.rle(order)])
        differing = np.flatnonzero(bitmaps.ravel() != pasted)
        assert set(differing) <= set(golden["near"].tolist())

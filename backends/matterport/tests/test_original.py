"""Matterport's own code: how it is configured, and, where it is, what it finds."""

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from maskrcnn_matterport.backend import MatterportBackend
from maskrcnn_matterport.original import settings
from maskrcnn_server.backend import Image, ModelConfig, PredictOptions
from maskrcnn_server.errors import InvalidSetting

CHECKOUT = os.environ.get("MATTERPORT_MASK_RCNN")


def test_it_is_configured_with_what_the_weights_show(small_dir: Path) -> None:
    overrides = {"DETECTION_NMS_THRESHOLD": "0.4"}
    folder = MatterportBackend().read(ModelConfig(model_dir=small_dir, overrides=overrides))
    said = settings(folder)
    assert said["NUM_CLASSES"] == 5
    assert said["FPN_CLASSIF_FC_LAYERS_SIZE"] == 24
    assert said["IMAGE_MIN_DIM"] == 96
    assert said["DETECTION_NMS_THRESHOLD"] == 0.4
    assert said["DETECTION_MIN_CONFIDENCE"] == 0


def test_a_folder_without_it_is_refused(small_dir: Path, tmp_path: Path) -> None:
    config = ModelConfig(model_dir=small_dir, engine="original", original=tmp_path)
    with pytest.raises(InvalidSetting, match=r"mrcnn/model\.py"):
        MatterportBackend().load(config)


@pytest.mark.full
@pytest.mark.skipif(CHECKOUT is None, reason="needs MATTERPORT_MASK_RCNN, a folder with mrcnn/")
def test_it_finds_what_it_found(
    full_size: Callable[[str, int], Path], photograph: Callable[[str], Image], test_data: Path
) -> None:
    config = ModelConfig(
        model_dir=full_size("resnet101", 5),
        engine="original",
        original=Path(CHECKOUT or ""),
        overrides={"IMAGE_MIN_DIM": "256", "IMAGE_MAX_DIM": "512", "IMAGE_MIN_SCALE": "2"},
    )
    model = MatterportBackend().load(config)
    options = PredictOptions(score_threshold=0.05)
    (found,) = model.predict([photograph("images/chelsea.png")], options)
    model.close()
    golden = np.load(test_data / "golden/matterport-resnet101-5-chelsea.npz")
    np.testing.assert_array_equal(found.boxes[:, [1, 0, 3, 2]], golden["boxes_yxyx"])
    np.testing.assert_allclose(found.scores, golden["scores"], atol=1e-6)

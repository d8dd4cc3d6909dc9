"""A cascade with three mask heads, exported to ONNX, finds what it finds here."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import thin
from mmdetection_files import save

from maskrcnn_mmdetection.backend import MMDetectionBackend
from maskrcnn_server.backend import Image, ModelConfig, PredictOptions
from maskrcnn_server.plugins import installed


@pytest.mark.full
def test_an_exported_cascade_finds_the_same(
    photograph: Callable[[str], Image], test_data: Path, tmp_path: Path
) -> None:
    file, folder = test_data / "golden/thin/mmdetection-cascade.npz", tmp_path / "model"
    folder.mkdir()
    save(folder / "epoch_12.pth", thin.weights(file), thin.config(file))
    config, options = ModelConfig(model_dir=folder), PredictOptions(score_threshold=0.05)
    MMDetectionBackend().exporters()["onnx"](config, tmp_path / "onnx")
    model = MMDetectionBackend().load(config)
    exported = installed().backends()["onnx"].load(ModelConfig(model_dir=tmp_path / "onnx"))
    image = photograph("images/chelsea.png")
    (found,), (wanted,) = exported.predict([image], options), model.predict([image], options)
    np.testing.assert_allclose(found.boxes, wanted.boxes, atol=0.01)
    np.testing.assert_allclose(found.scores, wanted.scores, atol=1e-4)
    np.testing.assert_array_equal(found.category_ids, wanted.category_ids)

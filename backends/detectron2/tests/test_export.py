"""Networks with grouped and dilated convolutions, exported to ONNX, find what they find here."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import thin

from maskrcnn_detectron2.backend import Detectron2Backend
from maskrcnn_server.backend import Image, ModelConfig, PredictOptions
from maskrcnn_server.plugins import installed


@pytest.mark.full
@pytest.mark.parametrize("kind", ["resnext", "dc5", "agnostic"])
def test_an_exported_network_finds_the_same(
    kind: str, photograph: Callable[[str], Image], test_data: Path, tmp_path: Path
) -> None:
    file, folder = test_data / f"golden/thin/detectron2-{kind}.npz", tmp_path / "model"
    folder.mkdir()
    np.savez(folder / "model.npz", allow_pickle=False, **thin.weights(file))
    (folder / "config.yaml").write_text(thin.config(file))
    config, options = ModelConfig(model_dir=folder), PredictOptions(score_threshold=0.05)
    Detectron2Backend().exporters()["onnx"](config, tmp_path / "onnx")
    model = Detectron2Backend().load(config)
    exported = installed().backends()["onnx"].load(ModelConfig(model_dir=tmp_path / "onnx"))
    image = photograph("images/chelsea.png")
    (found,), (wanted,) = exported.predict([image], options), model.predict([image], options)
    np.testing.assert_allclose(found.boxes, wanted.boxes, atol=0.01)
    np.testing.assert_allclose(found.scores, wanted.scores, atol=1e-4)
    np.testing.assert_array_equal(found.category_ids, wanted.category_ids)

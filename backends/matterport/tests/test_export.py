"""A network exported to ONNX finds what it finds here."""

from pathlib import Path

import numpy as np

from maskrcnn_matterport.backend import MatterportBackend
from maskrcnn_network.testing.networks import noisy_image
from maskrcnn_server.backend import ModelConfig, PredictOptions
from maskrcnn_server.plugins import installed


def test_an_exported_network_finds_the_same(small_dir: Path, tmp_path: Path) -> None:
    """The image has no canvas, where all places look the same and ties are decided by noise."""
    config = ModelConfig(model_dir=small_dir, overrides={"IMAGE_RESIZE_MODE": "none"})
    MatterportBackend().exporters()["onnx"](config, tmp_path / "onnx")
    model = MatterportBackend().load(config)
    exported = installed().backends()["onnx"].load(ModelConfig(model_dir=tmp_path / "onnx"))
    image, options = noisy_image(128, 192), PredictOptions(score_threshold=0.1)
    (found,), (wanted,) = exported.predict([image], options), model.predict([image], options)
    assert len(wanted) > 3
    np.testing.assert_array_equal(found.boxes, wanted.boxes)
    np.testing.assert_allclose(found.scores, wanted.scores, atol=1e-4)
    np.testing.assert_array_equal(found.category_ids, wanted.category_ids)

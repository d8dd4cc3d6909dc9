"""MMDetection's own outputs of thin networks, reproduced by every engine in float32."""

from collections.abc import Callable
from pathlib import Path

import pytest
import thin
from golden import assert_reproduced, on_engines
from mmdetection_files import save

from maskrcnn_mmdetection.backend import MMDetectionBackend
from maskrcnn_network.model import NetworkModel
from maskrcnn_server.backend import Image, ModelConfig, PredictOptions

KINDS = {
    "anchors": 3,
    "boxes": 3,
    "cascade": 3,
    "fpn": 3,
    "gn": 3,
    "resnext": 3,
    "2-caffe": 2,
    "2-cascade": 2,
}
"""Version of MMDetection by kind of network."""
SCORE_TOLERANCE = 2e-4


@pytest.mark.parametrize(("kind", "engine"), [*on_engines(tuple(KINDS))])
def test_every_kind_of_network_finds_what_mmdetection_found(
    kind: str,
    engine: str,
    photograph: Callable[[str], Image],
    test_data: Path,
    tmp_path: Path,
) -> None:
    file = test_data / f"golden/thin/mmdetection-{kind}.npz"
    save(tmp_path / "epoch_12.pth", thin.weights(file), thin.config(file), KINDS[kind])
    model = MMDetectionBackend().load(ModelConfig(model_dir=tmp_path, engine=engine))
    assert isinstance(model, NetworkModel)
    rule = model.reading.preparation
    for name in thin.PICTURES:
        image = thin.picture(photograph("images/chelsea.png"), name)
        wanted = thin.outputs(file, name)
        (found,) = model.predict([image], PredictOptions(score_threshold=0.05, proposals=True))
        size = (image.shape[0], image.shape[1])
        scale = rule.box_scale(size, rule.resized_size(size))
        assert_reproduced(wanted, image, found, SCORE_TOLERANCE, scale)
    model.close()

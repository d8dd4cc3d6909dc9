"""Detectron2's own outputs of thin networks, reproduced by every engine in float32."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import thin
from golden import assert_reproduced, on_engines

from maskrcnn_detectron2.backend import Detectron2Backend
from maskrcnn_network.model import NetworkModel
from maskrcnn_server.backend import Image, ModelConfig, PredictOptions

KINDS = ("agnostic", "anchors", "boxes", "c4", "cascade", "dc5", "fpn", "gn", "lsj", "resnext")
SCORE_TOLERANCE = 2e-4


@pytest.mark.parametrize(("kind", "engine"), [*on_engines(KINDS)])
def test_every_kind_of_network_finds_what_detectron2_found(
    kind: str,
    engine: str,
    photograph: Callable[[str], Image],
    test_data: Path,
    tmp_path: Path,
) -> None:
    file = test_data / f"golden/thin/detectron2-{kind}.npz"
    np.savez(tmp_path / "model.npz", allow_pickle=False, **thin.weights(file))
    (tmp_path / "config.yaml").write_text(thin.config(file))
    model = Detectron2Backend().load(ModelConfig(model_dir=tmp_path, engine=engine))
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

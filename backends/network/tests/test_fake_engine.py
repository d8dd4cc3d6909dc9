"""The reference is held against the original code, too."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
from golden import assert_reproduced

from maskrcnn_network import dialect
from maskrcnn_network.model import NetworkModel
from maskrcnn_network.testing import FakeEngine
from maskrcnn_server.backend import Image, ModelConfig, PredictOptions
from maskrcnn_tensorpack.backend import TensorPackBackend


@pytest.mark.parametrize("seed", [9500000, 9500003])
def test_the_demo_model_finds_what_the_original_found(
    seed: int,
    demo_dir: Path,
    photograph: Callable[[str], Image],
    test_data: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    engine = FakeEngine()
    plugins = SimpleNamespace(engines=lambda: {engine.name: engine})
    monkeypatch.setattr(dialect, "installed", lambda: plugins)
    model = TensorPackBackend().load(ModelConfig(model_dir=demo_dir, engine=engine.name))
    assert isinstance(model, NetworkModel)
    image = photograph(f"demo/golden/shapes-{seed}.png")
    (found,) = model.predict([image], PredictOptions(score_threshold=0.05, proposals=True))
    rule, size = model.reading.preparation, (image.shape[0], image.shape[1])
    scale = rule.box_scale(size, rule.resized_size(size))
    assert_reproduced(test_data / f"demo/golden/shapes-{seed}.npz", image, found, 2e-4, scale)

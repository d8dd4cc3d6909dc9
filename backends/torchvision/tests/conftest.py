"""The bundled model under torchvision's names, and its configuration in torchvision's keys."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from torch_weights import translated

from maskrcnn_server.backend import Model, ModelConfig
from maskrcnn_torchvision.backend import TorchvisionBackend

CONFIG = """\
min_size: 256
max_size: 352
rpn_post_nms_top_n_test: 200
class_names: [circle, square, triangle, star, hexagon, cross]
"""


@pytest.fixture(scope="session")
def shapes_dir(demo_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("torchvision-shapes")
    values = {n: v.astype(np.float32) for n, v in np.load(demo_dir / "model-6770.npz").items()}
    np.savez(folder / "model.npz", allow_pickle=False, **translated("torchvision", values))
    (folder / "config.yaml").write_text(CONFIG)
    return folder


@pytest.fixture(scope="session")
def shapes_model(shapes_dir: Path) -> Iterator[Model]:
    model = TorchvisionBackend().load(ModelConfig(model_dir=shapes_dir))
    yield model
    model.close()

"""The bundled model under detectron2's names, and its configuration in detectron2's keys."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from torch_weights import translated

from maskrcnn_detectron2.backend import Detectron2Backend
from maskrcnn_server.backend import Model, ModelConfig

CONFIG = """\
CLASS_NAMES: [circle, square, triangle, star, hexagon, cross]
INPUT:
  MIN_SIZE_TEST: 256
  MAX_SIZE_TEST: 352
MODEL:
  PIXEL_STD: [57.375, 57.12, 58.395]
  RESNETS:
    STRIDE_IN_1X1: false
  RPN:
    POST_NMS_TOPK_TEST: 200
"""


@pytest.fixture(scope="session")
def shapes_dir(demo_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("detectron2-shapes")
    values = {n: v.astype(np.float32) for n, v in np.load(demo_dir / "model-6770.npz").items()}
    np.savez(folder / "model.npz", allow_pickle=False, **translated("detectron2", values))
    (folder / "config.yaml").write_text(CONFIG)
    return folder


@pytest.fixture(scope="session")
def shapes_model(shapes_dir: Path) -> Iterator[Model]:
    model = Detectron2Backend().load(ModelConfig(model_dir=shapes_dir))
    yield model
    model.close()

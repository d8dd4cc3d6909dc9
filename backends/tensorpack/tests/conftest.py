"""The bundled model, as a folder and loaded."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from maskrcnn_tensorpack.backend import TensorPackBackend
from maskrcnn_tensorpack.plugin import DEMO

from maskrcnn_server.backend import Model, ModelConfig


@pytest.fixture(scope="session")
def demo_dir() -> Path:
    return DEMO / "model"


@pytest.fixture(scope="session")
def demo_model(demo_dir: Path) -> Iterator[Model]:
    model = TensorPackBackend().load(ModelConfig(model_dir=demo_dir))
    yield model
    model.close()

"""The bundled model, loaded."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from maskrcnn_server.backend import Model, ModelConfig
from maskrcnn_tensorpack.backend import TensorPackBackend


@pytest.fixture(scope="session")
def demo_model(demo_dir: Path) -> Iterator[Model]:
    model = TensorPackBackend().load(ModelConfig(model_dir=demo_dir))
    yield model
    model.close()

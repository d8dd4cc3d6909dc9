"""The bundled TensorPack model as AWS Samples would have saved it."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from maskrcnn_aws_samples.backend import AwsSamplesBackend
from maskrcnn_network.checkpoints.rows import channels_last
from maskrcnn_server.backend import Model, ModelConfig


@pytest.fixture(scope="session")
def shapes_dir(demo_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("aws-shapes")
    variables = dict(np.load(demo_dir / "model-6770.npz"))
    variables["fastrcnn/fc6/W"] = channels_last(variables["fastrcnn/fc6/W"])
    np.savez(folder / "model-6770.npz", allow_pickle=False, **variables)
    config = (demo_dir / "config.yaml").read_text()
    own = "RPN:\n  TEST_PER_LEVEL_POST_NMS_TOPK: 200\n  TEST_IMAGE_POST_NMS_TOPK: 200\n"
    (folder / "config.yaml").write_text(config.replace("RPN:\n", own))
    return folder


@pytest.fixture(scope="session")
def shapes_model(shapes_dir: Path) -> Iterator[Model]:
    model = AwsSamplesBackend().load(ModelConfig(model_dir=shapes_dir))
    yield model
    model.close()

"""Weights in Matterport's files: a small network that finds something, and full-size ones."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from matterport_small import CONFIG, small_layers
from matterport_weights import layers, write

from maskrcnn_matterport.backend import MatterportBackend
from maskrcnn_server.backend import Model, ModelConfig


@pytest.fixture(scope="session")
def small_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("matterport-small")
    write(folder / "mask_rcnn_small_0003.h5", small_layers())
    (folder / "config.yaml").write_text(CONFIG)
    return folder


@pytest.fixture(scope="session")
def small_model(small_dir: Path) -> Iterator[Model]:
    model = MatterportBackend().load(ModelConfig(model_dir=small_dir))
    yield model
    model.close()


@pytest.fixture(scope="session")
def full_size(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, int], Path]:
    """Makes a model folder with seeded weights, once a session."""
    made: dict[str, Path] = {}

    def make(architecture: str, classes: int) -> Path:
        if architecture not in made:
            made[architecture] = tmp_path_factory.mktemp(architecture)
            write(made[architecture] / "mask_rcnn_x_0005.h5", layers(classes, architecture))
        return made[architecture]

    return make

"""Test data that the backends share: photographs, golden outputs, seeded weights."""

from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
from heap import frozen_heap
from make_weights import weights
from torch_weights import state_dict

from maskrcnn_server.backend import Image
from maskrcnn_tensorflow.tf_environment import freeze_weights

__all__ = ["frozen_heap"]

TESTS = Path(__file__).parents[1] / "tests"

if find_spec("triton"):
    import_module("triton")  # which ends a process that has imported TensorFlow before
freeze_weights()  # as in the server's process


@pytest.fixture(scope="session")
def test_data() -> Path:
    """The folder of photographs and golden outputs."""
    return TESTS


@pytest.fixture(scope="session")
def photograph() -> Callable[[str], Image]:
    """Reads a photograph by its path below the test data."""

    def read(path: str) -> Image:
        return np.array(PIL.Image.open(TESTS / path).convert("RGB"))

    return read


@pytest.fixture(scope="session")
def seeded_weights(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, str], Path]:
    """Makes a model folder with the weights of an architecture and framework, once a session."""
    made: dict[tuple[str, str], Path] = {}

    def make(architecture: str, framework: str) -> Path:
        if (architecture, framework) not in made:
            folder = tmp_path_factory.mktemp(f"{framework}-{architecture}")
            values = (
                state_dict(framework, architecture)
                if framework in ("torchvision", "detectron2")
                else weights(architecture, framework)
            )
            np.savez(folder / "model.npz", allow_pickle=False, **values)
            made[architecture, framework] = folder
        return made[architecture, framework]

    return make


@pytest.fixture(scope="session")
def demo_dir() -> Path:
    """The model folder of the bundled demo: a trained TensorPack checkpoint."""
    return Path(__file__).parent / "tensorpack/maskrcnn_tensorpack/demo/model"

"""A thin network as MMDetection saves it."""

from pathlib import Path

import pytest
import thin
from mmdetection_files import save


@pytest.fixture(scope="session")
def file(test_data: Path) -> Path:
    """The golden file of MMDetection 3's thin Mask R-CNN."""
    return test_data / "golden/thin/mmdetection-fpn.npz"


@pytest.fixture(scope="session")
def model_dir(file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its model folder, as training leaves it."""
    folder = tmp_path_factory.mktemp("mmdetection")
    save(folder / "epoch_12.pth", thin.weights(file), thin.config(file))
    return folder

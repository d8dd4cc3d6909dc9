"""Models that the Object Detection API's own exporters wrote: see `data/NOTICE.md`."""

import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from maskrcnn_server.backend import Image

DATA = Path(__file__).with_name("data")


@pytest.fixture(scope="session")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The model folder `tf1`, `tf2` or `tf2-boxes`, not to be changed."""
    folders: dict[str, Path] = {}

    def unpacked(name: str) -> Path:
        if name not in folders:
            folders[name] = tmp_path_factory.mktemp(name)
            with tarfile.open(DATA / f"{name}.tar.xz") as archive:
                archive.extractall(folders[name], filter="data")
        return folders[name]

    return unpacked


@pytest.fixture(scope="session")
def model_dir(exported: Callable[[str], Path]) -> Path:
    """The model of TensorFlow 2, with masks."""
    return exported("tf2")


@pytest.fixture(scope="session")
def picture(photograph: Callable[[str], Image]) -> Callable[[str], Image]:
    """An image that the original has seen, by its name: one upright, one lying."""

    def read(name: str) -> Image:
        whole = photograph(f"images/{name}.png")
        return whole[:, 100:380].copy() if name == "astronaut" else whole

    return read

"""Files for drawings of results."""

import itertools
from pathlib import Path, PurePosixPath

from maskrcnn_predict.journal import output_folder


class Drawings:
    """A folder of drawings; images of one name in several folders get numbers."""

    def __init__(self, folder: Path) -> None:
        output_folder(folder)
        self._folder = folder
        self._taken: set[str] = set()

    def place(self, image: str) -> Path:
        """The file for the drawing of an image, by its path or address."""
        stem = PurePosixPath(image).stem
        names = (stem if i == 1 else f"{stem}-{i}" for i in itertools.count(1))
        name = next(name for name in names if name not in self._taken)
        self._taken.add(name)
        return self._folder / f"{name}.png"

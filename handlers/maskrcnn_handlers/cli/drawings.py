"""Files that images with what was found in them are drawn into."""

import itertools
from pathlib import Path, PurePosixPath


class Drawings:
    """Where answers are drawn: pictures of one name in several folders get numbers."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._taken: set[str] = set()

    def place(self, picture: str) -> Path:
        """The file for a picture, by its path or address."""
        stem = PurePosixPath(picture).stem
        names = (stem if i == 1 else f"{stem}-{i}" for i in itertools.count(1))
        name = next(name for name in names if name not in self._taken)
        self._taken.add(name)
        return self._folder / f"{name}.png"

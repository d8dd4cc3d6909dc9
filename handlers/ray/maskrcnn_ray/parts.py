"""The parts of a result: each is written once and whole, so what is there is done."""

from __future__ import annotations

import hashlib
import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from maskrcnn_ray.heads import Head, head_of, key
from maskrcnn_ray.stores import Folder
from maskrcnn_server.errors import InvalidSetting

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from maskrcnn_ray.formats import Format
    from maskrcnn_ray.stores import Store

READERS = 16
"""Number of parts that are looked at at a time."""
ROW = np.dtype([("image", "u8"), ("run", "i8"), ("is_done", "?"), ("part", "i4")])
"""Columns of the table of all images in all parts."""


@dataclass(frozen=True)
class Parts:
    """The parts of a result in a store. It can be pickled."""

    store: Store
    format: Format
    asked: Mapping[str, Any]
    run: int
    """When the run began: seconds since 1970."""

    def write(self, lines: Sequence[Mapping[str, Any]]) -> str:
        """Write a part; its name. The same images have the same name, whoever writes them."""
        names = "\n".join(line["picture"] for line in lines).encode(errors="surrogateescape")
        name = f"{hashlib.blake2b(names, digest_size=16).hexdigest()}{self.format.suffix}"
        self._write(name, head_of(self.run, self.asked, lines), lines)
        return name

    def heads(self) -> dict[str, Head]:
        """The head of each part. Raises InvalidSetting for a file that is none."""
        names = self.store.names(self.format.suffix)
        with ThreadPoolExecutor(READERS) as pool:
            found = pool.map(lambda name: self.format.head(self.store, name), names)
            return dict(zip(names, found, strict=True))

    def done(self) -> NDArray[np.uint64]:
        """A key of each image that has results, sorted; see `done_key`.

        Raises InvalidSetting if a part holds results of something else.
        """
        asked = json.loads(json.dumps(self.asked))
        keys: list[NDArray[np.uint64]] = []
        for name, head in self.heads().items():
            if head.asked != asked:
                raise InvalidSetting(
                    f"{name} holds the results of {json.dumps(head.asked)}, not of "
                    f"{json.dumps(asked)}; --restart drops them"
                )
            keys.append(np.array([_joined(*pair) for pair in head.done], np.uint64))
        return np.unique(np.concatenate(keys)) if keys else np.empty(0, np.uint64)

    def clear(self) -> None:
        """Remove all parts. Raises InvalidSetting for a file that is none, and removes nothing."""
        for name in self.heads():
            self.store.remove(name)

    def tidy(self) -> int:
        """Leave one line for each image, that of the latest run; the number of lines removed.

        Several are there when an image has changed, has failed before, or was done by two runs at
        the same time.
        """
        heads = self.heads()
        names = list(heads)
        if not names:
            return 0
        table = np.concatenate([_rows(number, head) for number, head in enumerate(heads.values())])
        table = table[np.lexsort((table["part"], table["is_done"], table["run"], table["image"]))]
        is_last = np.append(table["image"][1:] != table["image"][:-1], True)[: len(table)]
        best = np.sort(table[is_last], order="part")
        for part in np.unique(table["part"][~is_last]):
            start, end = np.searchsorted(best["part"], (part, part + 1))
            name = names[part]
            self._keep(name, heads[name].run, {int(image) for image in best["image"][start:end]})
        return int(np.count_nonzero(~is_last))

    def lines(self) -> Iterator[dict[str, Any]]:
        """All lines, a part at a time."""
        for name in self.store.names(self.format.suffix):
            yield from self.format.lines(self.store.read(name))

    def copied(self, folder: Path) -> Parts:
        """The same parts in a folder of this machine, to be read several times."""
        copy = replace(self, store=Folder(folder))
        for name in self.store.names(self.format.suffix):
            copy.store.write(name, self.store.read(name))
        return copy

    def _keep(self, name: str, run: int, images: set[int]) -> None:
        """Leave of a part the last line of each of these images."""
        last = {key(line["picture"]): line for line in self.format.lines(self.store.read(name))}
        kept = [line for image, line in last.items() if image in images]
        if kept:
            self._write(name, head_of(run, self.asked, kept), kept)
        else:
            self.store.remove(name)

    def _write(self, name: str, head: Head, lines: Sequence[Mapping[str, Any]]) -> None:
        self.store.write(name, self.format.encoded(head, lines))


def _rows(part: int, head: Head) -> NDArray[np.void]:
    """A row for each image of a part."""
    images = [image for image, _ in head.done]
    rows = np.zeros(len(images) + len(head.failed), ROW)
    rows["image"] = [*images, *head.failed]
    rows["is_done"][: len(images)] = True
    rows["run"], rows["part"] = head.run, part
    return rows


def done_key(name: str, version: str) -> np.uint64:
    """Key of an image as it is now."""
    return np.uint64(_joined(key(name), key(version)))


def _joined(name: int, version: int) -> int:
    return name ^ (version * 0x9E3779B97F4A7C15 & 0xFFFFFFFFFFFFFFFF)

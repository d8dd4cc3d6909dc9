"""Annotations in COCO's format, as tools write them: read, checked, and brought into one form."""

import json
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from maskrcnn_handlers.request import images
from maskrcnn_server.backend import Image
from maskrcnn_server.errors import InvalidImage, InvalidSetting
from maskrcnn_server.rle import Size
from maskrcnn_study.coco_fields import (
    MIN_POLYGON,
    Entry,
    Wrong,
    area_of,
    box_of,
    corners,
    flattened,
    is_by_corners,
    is_number,
    length,
    nested,
    read_box,
    read_flag,
    run_lengths,
    shown,
)
from maskrcnn_study.image_size import measured

MAX_CLASSES = 1_000_000
"""Number above which categories whose ids are text are numbered: no model has such a class, so that
none is matched by that number."""
FIELDS = {"images": "id and file_name", "categories": "id and name", "annotations": "image_id"}
"""Fields that an entry of each list has at least."""


@dataclass(frozen=True)
class CocoSet:
    """Annotated images."""

    annotations: Path
    """File of the annotations."""
    paths: Mapping[int, Path]
    """Paths of the images, by id."""
    categories: Mapping[int, str | None]
    """Names of the categories, by id; None where the annotations have none."""
    content: Mapping[str, Any]
    """The annotations as pycocotools takes them, with ids from 1 and every field that it needs. A
    mask that is not there is None."""
    notes: Sequence[str]
    """Sentences about what was unusual, and how it was taken."""

    @cached_property
    def has_masks(self) -> bool:
        """Whether any object has a mask."""
        return any(entry["segmentation"] for entry in self.content["annotations"])

    def of_masks(self) -> dict[str, Any]:
        """The content for measuring masks: an object without one is a crowd that fills its box, in
        which nothing is right or wrong."""
        objects = [
            entry
            if entry["segmentation"]
            else {**entry, "iscrowd": 1, "segmentation": [corners(entry["bbox"])]}
            for entry in self.content["annotations"]
        ]
        return {**self.content, "annotations": objects}

    def decoded(self, max_pixels: int) -> Iterator[tuple[int, Image]]:
        """Every image with its id. Raises InvalidImage for one that cannot be read."""
        for image_id, path in self.paths.items():
            try:
                yield image_id, images.decode(path.read_bytes(), max_pixels)
            except OSError as error:
                raise InvalidImage(f"{path}: {error.strerror}") from None
            except InvalidImage as error:
                raise InvalidImage(f"{path}: {error.message}") from None


def coco_set(annotations: Path, folder: Path) -> CocoSet:
    """Images in `folder` with the annotations of a file.

    Ids may be numbers or text. What can be derived is: boxes and areas from masks, the sizes of
    images from their files. An object without a mask keeps its box.

    Raises InvalidSetting, with the entry and its value, if the file is not in COCO's format,
    contradicts itself or the images, or names an image that is not in the folder.
    """
    if not folder.is_dir():
        raise InvalidSetting(f"{folder}: no such folder of images")
    try:
        return _Reader(annotations, folder).read()
    except Wrong as error:
        raise InvalidSetting(f"{annotations}: {error}") from None


class _Reader:
    def __init__(self, path: Path, folder: Path) -> None:
        self._path, self._folder = path, folder
        self._counted: Counter[str] = Counter()
        self._first: dict[str, str] = {}
        self._sizes: dict[int, Size | None] = {}

    def read(self) -> CocoSet:
        content = _parsed(self._path)
        ids, paths = self._images(_entries(content, "images"))
        categories, merged = self._categories(_entries(content, "categories", required=False))
        kept = self._annotations(_entries(content, "annotations"), ids, categories, merged)
        sized = [
            {"id": i, "file_name": path.name, "height": size[0], "width": size[1]}
            for i, path in paths.items()
            for size in [self._sizes[i] or _extent(kept, i)]
        ]
        named = [{"id": i, "name": n if n is not None else str(i)} for i, n in categories.items()]
        whole = {"info": {}, "images": sized, "annotations": kept, "categories": named}
        notes = [f"{what}: {n}, first {self._first[what]}" for what, n in self._counted.items()]
        if kept and all(entry["iscrowd"] for entry in kept):
            notes.append("every object is a crowd (iscrowd is 1), and crowds are not counted")
        return CocoSet(self._path, paths, categories, whole, notes)

    def _note(self, what: str, where: str) -> None:
        self._counted[what] += 1
        self._first.setdefault(what, where)

    def _images(self, entries: Sequence[Entry]) -> tuple[dict[int | str, int], dict[int, Path]]:
        """Number of each image by its id, and paths by number."""
        names: dict[int | str, str] = {}
        sizes: dict[int | str, Entry] = {}
        for i, entry in enumerate(entries):
            where = f"images[{i}]"
            key = _id(entry, "id", where)
            name = entry.get("file_name")
            if not isinstance(name, str) or not name.strip():
                raise Wrong(f"{where}: file_name is {shown(name)}, not the name of a file")
            if names.setdefault(key, name) != name:
                raise Wrong(f"{where}: id {shown(key)} is that of {names[key]!r} and of {name!r}")
            if key in sizes:
                self._note("images that are listed twice", where)
            sizes[key] = entry
        if not names:
            raise Wrong("images is empty")
        ids = _numbers(names)
        if any(isinstance(key, str) for key in ids):
            self._note("ids of images that are no numbers", shown(next(iter(ids))))
        located = {ids[key]: self._place(name) for key, name in names.items()}
        paths = {i: path for i, path in located.items() if path is not None}
        self._check_apart(names, {key: located[i] for key, i in ids.items()})
        missing = [names[key] for key, i in ids.items() if i not in paths]
        if missing:
            raise Wrong(
                f"{len(missing)} of {len(names)} images are not in {self._folder}, such as "
                f"{missing[0]!r}{self._outside(missing[0])}"
            )
        for key, i in ids.items():
            self._sizes[i] = self._size(paths[i], sizes[key])
        return ids, paths

    def _place(self, name: str) -> Path | None:
        """The file in the folder: at the name's path, or at an end of it. Never outside."""
        parts = _parts(name)
        while ".." in parts:
            parts = parts[parts.index("..") + 1 :]
        try:
            for begin in range(len(parts)):
                path = self._folder.joinpath(*parts[begin:])
                if path.is_file():
                    if begin or len(parts) != len(Path(name).parts):
                        self._note("images that are named by another folder", repr(name))
                    return path
        except (OSError, ValueError):
            return None
        return None

    def _check_apart(
        self, names: Mapping[int | str, str], paths: Mapping[int | str, Path | None]
    ) -> None:
        """Raises Wrong if images of several folders are found as one file."""
        found: dict[Path, str] = {}
        for key, path in paths.items():
            if path is None:
                continue
            one, other = found.setdefault(path, names[key]), names[key]
            if _parts(one) != _parts(other):
                raise Wrong(f"{one!r} and {other!r} are both found as {path}: keep their folders")

    def _outside(self, name: str) -> str:
        parts = name.replace("\\", "/").split("/")
        return ", which leads out of it" if ".." in parts or name.startswith("/") else ""

    def _size(self, path: Path, entry: Entry) -> Size | None:
        """Height and width of the upright image. None if neither file nor entry tells."""
        said = length(entry.get("height")), length(entry.get("width"))
        known = (said[0], said[1]) if said[0] and said[1] else None
        try:
            real = measured(path)
        except InvalidImage:
            return known
        if known and known != real:
            turned = "; its EXIF turns it, or both are swapped" if known == real[::-1] else ""
            raise Wrong(
                f"{path.name} is {real[1]} x {real[0]} pixels, and its annotations are of an image "
                f"of {known[1]} x {known[0]}{turned}"
            )
        return real

    def _categories(
        self, entries: Sequence[Entry]
    ) -> tuple[dict[int, str | None], dict[int | str, int]]:
        """Names by number, and numbers by id: two ids of one name have one number."""
        names: dict[int | str, str | None] = {}
        for i, entry in enumerate(entries):
            where = f"categories[{i}]"
            key, name = _id(entry, "id", where), entry.get("name")
            if name is not None and not isinstance(name, str):
                raise Wrong(f"{where}: name is {shown(name)}, not text")
            name = name if name and name.strip() else None
            if names.setdefault(key, name) != name:
                raise Wrong(f"{where}: id {shown(key)} is {names[key]!r} and {name!r}")
        for key, name in names.items():
            if name is None and (not isinstance(key, int) or key < 1):
                raise Wrong(f"category {shown(key)} has no name, and models count from 1")
        numbers = _numbers(names, MAX_CLASSES)
        if any(isinstance(key, str) for key in numbers):
            self._note("ids of categories that are no numbers", shown(next(iter(numbers))))
        taken: dict[str, int] = {}
        for key, name in names.items():
            if name is not None and taken.setdefault(name, numbers[key]) != numbers[key]:
                self._note("categories of one name, taken for one", repr(name))
                numbers[key] = taken[name]
        return {numbers[key]: names[key] for key in reversed(names)}, numbers

    def _annotations(
        self,
        entries: Sequence[Entry],
        ids: Mapping[int | str, int],
        categories: dict[int, str | None],
        numbers: Mapping[int | str, int],
    ) -> list[Entry]:
        if not entries:
            raise Wrong("annotations is empty: nothing is annotated")
        is_named = bool(categories)
        kept: list[Entry] = []
        seen: dict[int | str, Entry] = {}
        for i, entry in enumerate(entries):
            where = f"annotations[{i}]"
            image = ids.get(_id(entry, "image_id", where))
            if image is None:
                self._note("annotations of images that are not listed, left out", where)
                continue
            own = _id(entry, "id", where) if entry.get("id") is not None else None
            if own is not None and own in seen:
                if seen[own] == entry:
                    self._note("annotations that are there twice, taken once", where)
                    continue
                self._note("annotations with the id of another", where)
            elif own is not None:
                seen[own] = entry
            key = _id(entry, "category_id", where)
            if not is_named:
                if not isinstance(key, int) or key < 1:
                    raise Wrong(
                        f"{where}: category_id is {shown(key)}, and without categories' names "
                        "it must be the model's number, from 1"
                    )
                categories.setdefault(key, None)
            elif key not in numbers:
                known = ", ".join(map(str, numbers))
                raise Wrong(f"{where}: category_id is {shown(key)}; categories has {known}")
            category = numbers[key] if is_named else int(key)
            kept.append(self._object(entry, where, image) | {"category_id": category})
            kept[-1]["id"] = len(kept)
        if not kept:
            raise Wrong("no annotation is of an image that is listed")
        if max(x + width for x, _, width, _ in (entry["bbox"] for entry in kept)) <= 1:
            raise Wrong(
                "every box is within the first pixel: coordinates must be pixels, not shares of "
                "the image"
            )
        return kept

    def _object(self, entry: Entry, where: str, image: int) -> Entry:
        size = self._sizes[image]
        mask = self._mask(entry.get("segmentation"), where, size)
        box = read_box(entry.get("bbox"), where)
        if box is not None and not box[2] * box[3]:
            self._note("boxes without an area, which nothing can match", where)
            box = box if mask is None else None
        if mask is None and entry.get("segmentation") is not None:
            self._note("annotations with an empty mask", where)
        elif mask is None:
            self._note("annotations without a mask", where)
        if box is None and mask is None:
            raise Wrong(f"{where} has neither a bbox nor a segmentation")
        if box is None:
            self._note("annotations without a bbox, taken from the mask", where)
        elif mask is not None and is_by_corners(box, mask):
            raise Wrong(
                f"{where}: bbox is {shown(entry['bbox'])}, which is x1, y1, x2, y2 by its mask; "
                "it must be x, y, width, height"
            )
        box = box or box_of(mask)
        if size and (box[0] + box[2] > size[1] + 1 or box[1] + box[3] > size[0] + 1):
            self._note("boxes that leave their image (they are x, y, width, height)", where)
        area = entry.get("area")
        return {
            "image_id": image,
            "bbox": box,
            "area": area if is_number(area) and area > 0 else area_of(mask, box),
            "iscrowd": read_flag(entry.get("iscrowd"), where),
            "segmentation": mask,
        }

    def _mask(self, value: Any, where: str, size: Size | None) -> Any:
        """Polygons of three points or more, or compressed run lengths. None for no mask."""
        if not value:
            return None
        if isinstance(value, dict):
            return run_lengths(value, where, size)
        if not isinstance(value, list):
            raise Wrong(f"{where}: segmentation is {shown(value)}, not polygons or run lengths")
        polygons = [flattened(part, where) for part in nested(value)]
        whole = [polygon for polygon in polygons if len(polygon) >= MIN_POLYGON]
        if len(whole) < len(polygons):
            self._note("polygons of fewer than three points, left out", where)
        return whole or None


def _parsed(path: Path) -> Any:
    try:
        content = json.loads(path.read_bytes().decode("utf-8-sig"))
    except OSError as error:
        raise Wrong(f"no COCO annotations: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        raise Wrong(f"no COCO annotations: it is no JSON ({str(error)[:80]})") from None
    if not isinstance(content, dict):
        kind = "a list, as results are" if isinstance(content, list) else shown(content)
        raise Wrong(f"no COCO annotations: {kind}; an object with images and annotations is one")
    return content


def _entries(content: Any, name: str, *, required: bool = True) -> list[Entry]:
    found = content.get(name)
    if found is None and not required:
        return []
    if not isinstance(found, list):
        said = "there is no" if found is None else f"{shown(found)} is not a list of"
        raise Wrong(f"no COCO annotations: {said} {name}")
    for i, entry in enumerate(found):
        if not isinstance(entry, dict):
            raise Wrong(
                f"no COCO annotations: {name}[{i}] is {shown(entry)}, not an object with "
                f"{FIELDS[name]}"
            )
    return found


def _id(entry: Entry, name: str, where: str) -> int | str:
    """The id as a number, if it is one in any form. Raises Wrong."""
    value = entry.get(name)
    if isinstance(value, str) and value.strip():
        text = value.strip()
        return int(text) if text.isascii() and text.isdigit() and len(text) < 19 else text
    if is_number(value) and value == int(value) and abs(value) < 2**63:
        return int(value)
    raise Wrong(f"no COCO annotations: {where}: {name} is {shown(value)}, not a number or text")


def _parts(name: str) -> list[str]:
    """Folders and name of a file, of any system."""
    return [part for part in name.replace("\\", "/").split("/") if part not in ("", ".")]


def _numbers(keys: Mapping[int | str, object], above: int = 0) -> dict[int | str, int]:
    """A number for each id: its own, or for text one that is free, and larger than `above`."""
    free = max((key for key in keys if isinstance(key, int)), default=0)
    free = max(free, above)
    numbers: dict[int | str, int] = {}
    for key in keys:
        if isinstance(key, str):
            free += 1
        numbers[key] = key if isinstance(key, int) else free
    return numbers


def _extent(kept: Sequence[Entry], image: int) -> Size:
    """Smallest size that holds the objects of an image whose own is unknown."""
    boxes = [entry["bbox"] for entry in kept if entry["image_id"] == image] or [[0, 0, 1, 1]]
    return (
        max(1, math.ceil(max(y + h for _, y, _, h in boxes))),
        max(1, math.ceil(max(x + w for x, _, w, _ in boxes))),
    )

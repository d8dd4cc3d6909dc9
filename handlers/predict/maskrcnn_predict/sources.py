"""Images in files, folders and S3, one after the other, however many there are."""

import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

from maskrcnn_handlers.formats import writing
from maskrcnn_handlers.request import images
from maskrcnn_predict.addresses import address
from maskrcnn_server.errors import DownloadFailed, InvalidImage, InvalidSetting
from maskrcnn_server.store.downloads import Remote, S3Source, s3_client, s3_objects

SUFFIXES = (
    ".jpg",
    ".jpeg",
    ".jfif",
    ".jpe",
    ".png",
    ".apng",
    ".webp",
    ".bmp",
    ".gif",
    ".tif",
    ".tiff",
)
"""Suffixes of the images in a folder or prefix; a file that is named may have any."""
MORE_SUFFIXES = {"HEIF": (".heic", ".heif"), "AVIF": (".avif",)}
"""Suffixes of images in formats that some installations of Pillow read."""
NO_IMAGES = ("__MACOSX",)
"""Names of folders that hold no images, besides hidden ones."""
SHOWN = 8
"""Number of kinds of files that a message lists."""
MAX_BYTES = 1 << 30
"""Size of the largest file that is read."""
MANIFEST = "@"
"""First character of a place that is a file with a place on each line."""
MAX_LINE = 4096
"""Number of bytes of a manifest's line at most."""


@dataclass(frozen=True)
class Source:
    """An image that has not been read yet."""

    name: str
    """The whole path or address."""
    image_id: int | str
    """COCO's id of the image."""
    version: str
    """A text that changes when the image does."""
    read: Callable[[], bytes]
    """Raises InvalidImage, with the reason."""


def suffixes() -> tuple[str, ...]:
    """Suffixes of the images that are decoded in this installation."""
    more = (MORE_SUFFIXES[name] for name in images.readable() if name in MORE_SUFFIXES)
    return (*SUFFIXES, *chain.from_iterable(more))


def check(places: Sequence[str]) -> list[str]:
    """Sentences about files in folders that are no images. Nothing is read.

    Raises InvalidImage for a folder without an image, with what it holds.
    """
    notes = []
    for place in places:
        if place.startswith(("s3://", MANIFEST)) or not Path(place).is_dir():
            continue
        files = list(_below(Path(place)))
        others = Counter(p.suffix.lower() or "no suffix" for p in files if not _is_image(p.name))
        kinds = ", ".join(f"{suffix} ({count})" for suffix, count in others.most_common(SHOWN))
        heic = any(suffix in others for suffix in MORE_SUFFIXES["HEIF"])
        hint = "; pip install pillow-heif to read HEIC" if heic else ""
        if others.total() == len(files):
            holds = f"; it holds {kinds}" if others else ""
            raise InvalidImage(
                f"{place}: no image in this folder ({', '.join(suffixes())}){holds}{hint}"
            )
        if others:
            notes.append(f"{place}: {others.total()} files are no images: {kinds}{hint}")
    return notes


def keep_inputs(outputs: Mapping[str, Path | None], places: Sequence[str]) -> None:
    """Raise InvalidSetting for a file, by its option, that would replace what is read, or another
    of them."""
    taken = {os.path.realpath(place) for place in places}
    for option, path in outputs.items():
        if path is None:
            continue
        where = os.path.realpath(path)
        if where in taken:
            raise InvalidSetting(f"--{option} {path}: it is read, or another option's file")
        taken.add(where)


def problem(place: str) -> InvalidImage | None:
    """Why a file cannot be an image, by its first bytes. None for what may be one."""
    if place.startswith("s3://"):
        return None
    try:
        with Path(place).open("rb") as file:
            start = file.read(64)
    except (OSError, ValueError) as error:
        return InvalidImage(getattr(error, "strerror", None) or str(error))
    if images.media_type(start) is None:
        return InvalidImage(images.unknown(start))
    return None


def everything(_: str) -> bool:
    """Keeps every image."""
    return True


def sources(places: Sequence[str], keep: Callable[[str], bool] = everything) -> Iterator[Source]:
    """The images at paths, in folders and below them, at `s3://bucket/prefix`, and at the places
    that are the lines of `@FILE`; those of folders and prefixes are sorted.

    Those that `keep` refuses by their names are not looked at. The id of an image in a folder is
    its path from there, or the number that its name is. Raises DownloadFailed for what cannot be
    listed, InvalidSetting for what is not an address, or not a manifest.
    """
    for place in places:
        if place.startswith(MANIFEST):
            for line in _manifest(place.removeprefix(MANIFEST)):
                yield from _sources_at(line, keep)
        else:
            yield from _sources_at(place, keep)


def count(
    places: Sequence[str],
    keep: Callable[[str], bool] = everything,
    is_done: Callable[[Source], bool] = lambda _: False,
) -> int | None:
    """Number of different images at these places that are not done.

    None if a place is on S3 or a manifest: the number is known when they have been listed.
    """
    if any(place.startswith(("s3://", MANIFEST)) for place in places):
        return None
    return len({source.name for source in sources(places, keep) if not is_done(source)})


def _sources_at(place: str, keep: Callable[[str], bool]) -> Iterator[Source]:
    # A manifest has an image on each line: no file system or store is asked about others' images.
    if _is_image(place) and not keep(place):
        return
    if place.startswith("s3://"):
        yield from _objects(place, keep)
    elif Path(place).is_dir():
        yield from _files(Path(place), keep)
    elif keep(place):
        yield file_source(Path(place), writing.image_id(Path(place).name))


def _manifest(place: str) -> Iterator[str]:
    """Lines that are not empty. Raises InvalidSetting, DownloadFailed."""
    if place.startswith("s3://"):
        where = address(place)
        source = S3Source(s3_client(), where.bucket, where.key)
        lines = _lines(source.read(0, source.look().version))
    else:
        lines = _lines_of_file(Path(place))
    for number, line in enumerate(lines, 1):
        if len(line) > MAX_LINE:
            raise InvalidSetting(f"{place}, line {number}: more than {MAX_LINE} bytes")
        try:
            text = line.decode().strip()
        except UnicodeDecodeError as error:
            raise InvalidSetting(f"{place}, line {number}: {error.reason}, not UTF-8") from None
        if text:
            yield text


def _lines_of_file(path: Path) -> Iterator[bytes]:
    try:
        with path.open("rb") as file:
            while line := file.readline(MAX_LINE + 2):
                yield line.rstrip(b"\n")
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise InvalidSetting(f"{path}: {reason}") from error


def _lines(chunks: Iterator[bytes]) -> Iterator[bytes]:
    rest = b""
    for chunk in chunks:
        *whole, rest = (rest + chunk).split(b"\n")
        yield from whole
        if len(rest) > MAX_LINE:
            break
    yield rest


def file_source(path: Path, image_id: int | str) -> Source:
    """The image in a file, which need not be there: that shows when it is read."""
    try:
        state = path.stat()
        version = f"{state.st_size} {state.st_mtime_ns}"
    except (OSError, ValueError):
        version = ""
    return Source(str(path), image_id, version, partial(contents, path))


def contents(path: Path) -> bytes:
    """The file's bytes. Raises InvalidImage with the reason."""
    try:
        size = path.stat().st_size
        if size > MAX_BYTES:
            raise _too_large(size)
        return path.read_bytes()
    except (OSError, ValueError) as error:
        raise InvalidImage(getattr(error, "strerror", None) or str(error)) from error


def _files(folder: Path, keep: Callable[[str], bool]) -> Iterator[Source]:
    for path in _below(folder):
        if _is_image(path.name) and keep(str(path)):
            yield file_source(path, _image_id(path.relative_to(folder).as_posix()))


def _below(folder: Path) -> Iterator[Path]:
    """All files, sorted, but for hidden ones and those in hidden folders."""
    for parent, folders, files in os.walk(folder):
        folders[:] = sorted(f for f in folders if not f.startswith(".") and f not in NO_IMAGES)
        for name in sorted(files):
            if not name.startswith("."):
                yield Path(parent) / name


def _is_image(name: str) -> bool:
    return name.lower().endswith(suffixes())


def _objects(place: str, keep: Callable[[str], bool]) -> Iterator[Source]:
    where = address(place)
    client = s3_client()
    is_image = _is_image(where.key)
    prefix = where.key if is_image or not where.key else where.below("")
    for key, remote in s3_objects(client, where.bucket, prefix):
        name = f"s3://{where.bucket}/{key}"
        if _is_image(key) and not (is_image and key != where.key) and keep(name):
            yield Source(
                name,
                _image_id(remote.name if is_image else key.removeprefix(prefix)),
                remote.version,
                partial(_content, client, where.bucket, key, remote),
            )


def _content(client: Any, bucket: str, key: str, remote: Remote) -> bytes:
    if remote.size is not None and remote.size > MAX_BYTES:
        raise _too_large(remote.size)
    try:
        return b"".join(S3Source(client, bucket, key).read(0, remote.version))
    except DownloadFailed as error:
        raise InvalidImage(error.message) from error


def _image_id(name: str) -> int | str:
    """The id for a name; images of one name in two folders have two ids."""
    return name if "/" in name else writing.image_id(name)


def _too_large(size: int) -> InvalidImage:
    return InvalidImage(f"{size} bytes; at most {MAX_BYTES} are read")

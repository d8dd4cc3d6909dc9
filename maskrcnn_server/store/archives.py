"""Unpacking archives that nobody has vouched for."""

import bz2
import gzip
import lzma
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO, NamedTuple, cast

from maskrcnn_server.errors import InvalidModel
from maskrcnn_server.machine import STORAGE_FAULTS
from maskrcnn_server.store.tar_stream import Readable, TarStream
from maskrcnn_server.work import meter, open_zip

MAX_FILES = 10_000
MAX_BYTES = 8 << 30
MAX_GROWTH = 20
"""Maximum size of what is unpacked by that of the archive. Weights hardly shrink; text does."""
MIN_BYTES = 256 << 20
"""Size up to which an archive may grow more than that."""
SUFFIXES = (".tar.gz", ".tgz", ".tar", ".zip", ".tar.bz2", ".tbz2", ".tar.xz", ".txz")
CHUNK = 1 << 20
NO_TAR = ("invalid header", "bad checksum")
"""What `tarfile` says of bytes that are no tar archive."""
GZIP = b"\x1f\x8b"
ZIP = b"PK"
PACKED: dict[bytes, Callable[[Path], object]] = {
    GZIP: gzip.open,
    b"BZh": bz2.open,
    b"\xfd7zXZ": lzma.open,
}
"""Openers of compressed files by their first bytes."""


class _Member(NamedTuple):
    name: str
    is_folder: bool
    is_file: bool
    content: Readable | None


def is_archive(name: str) -> bool:
    """Whether a file of this name is one that `unpack` takes; `.pth.tar` is a file of PyTorch's."""
    return name.lower().endswith(SUFFIXES) and not name.lower().endswith(".pth.tar")


def unpack(
    archive: Path, folder: Path, *, max_files: int = MAX_FILES, max_bytes: int = MAX_BYTES
) -> None:
    """Unpack a tar archive, compressed or not, or a `.zip` into `folder`, which is made.

    Raises InvalidModel for an archive that is damaged, has more files or more bytes than allowed,
    or a member that is anything but a file or folder below `folder`: an absolute path, a path with
    `..`, a link, a device. What was unpacked until then stays; nothing is outside of `folder`.
    Raises OSError if the disk is full, or cannot be written.
    What macOS adds to archives is left out.
    """
    folder.mkdir(parents=True, exist_ok=True)
    max_bytes = min(max_bytes, max(MIN_BYTES, MAX_GROWTH * archive.stat().st_size))
    budget = max_bytes
    try:
        with _members(archive) as members:
            for number, member in enumerate(members, start=1):
                if number > max_files:
                    raise InvalidModel(f"{archive}: more than {max_files} members")
                target = folder / _below(member, archive)
                if _is_of_mac(target):
                    continue
                if member.is_folder:
                    target.mkdir(parents=True, exist_ok=True)
                    continue
                target.parent.mkdir(parents=True, exist_ok=True)
                budget -= _copy(member, target, budget, archive, max_bytes)
    except (
        tarfile.TarError,
        zipfile.BadZipFile,
        zlib.error,
        EOFError,
        OSError,
        ValueError,
        RuntimeError,
        lzma.LZMAError,
    ) as error:
        if getattr(error, "errno", None) in STORAGE_FAULTS:
            raise
        from maskrcnn_server.store.signatures import signature

        is_packed = any(_starts_with(archive, start) for start in PACKED)
        found = None if is_packed else signature(archive)
        said = "it is encrypted" if isinstance(error, RuntimeError) else error
        reason = f"({said})" if found is None or "tar" in found else f"(it {found})"
        if is_packed and str(error) in NO_TAR:
            reason = "(what is compressed in it is no tar archive: pack the model folder with tar)"
        raise InvalidModel(f"{archive}: cannot be unpacked {reason}") from error
    if not any(path.is_file() for path in folder.rglob("*")):
        raise InvalidModel(f"{archive}: holds no files: pack the model folder again")


@contextmanager
def _members(archive: Path) -> Iterator[Iterator[_Member]]:
    # Not `is_zipfile`: it finds the end of a zip file that is stored inside a tar.
    if _starts_with(archive, ZIP):
        with open_zip(archive, meter(archive)) as opened:
            _check_no_checkpoint(archive, opened.namelist())
            yield _zip_members(opened)
        return
    opener = next(
        (opened for start, opened in PACKED.items() if _starts_with(archive, start)), None
    )
    with cast("IO[bytes]", (opener or _plain)(archive)) as file:
        stream = TarStream(file, meter(archive))
        with tarfile.open(fileobj=cast("IO[bytes]", stream), mode="r:") as opened_tar:
            yield _tar_members(opened_tar, stream)


def _check_no_checkpoint(archive: Path, names: list[str]) -> None:
    """Raises InvalidModel for what PyTorch and NumPy write, which are zip files, too."""
    is_torch = any(name.endswith("/data.pkl") for name in names)
    if is_torch or (names and all(name.endswith(".npy") for name in names)):
        suffix = ".pth" if is_torch else ".npz"
        raise InvalidModel(
            f"{archive}: is a checkpoint itself, not an archive with one: rename it to "
            f"{archive.stem}{suffix}, and name the folder it is in"
        )


def _plain(archive: Path) -> IO[bytes]:
    return archive.open("rb")


def _starts_with(archive: Path, signature: bytes) -> bool:
    """Whether these are the first bytes of the file."""
    with archive.open("rb") as file:
        return file.read(len(signature)) == signature


def _zip_members(archive: zipfile.ZipFile) -> Iterator[_Member]:
    for info in archive.infolist():
        kind = stat.S_IFMT(info.external_attr >> 16)
        is_file = not info.is_dir() and kind in (0, stat.S_IFREG)
        if is_file:
            with archive.open(info) as content:
                yield _Member(info.filename, False, True, content)
        else:
            yield _Member(info.filename, info.is_dir(), False, None)


def _tar_members(archive: tarfile.TarFile, stream: TarStream) -> Iterator[_Member]:
    for info in archive:
        is_file = info.isreg() and not info.issparse()
        content = stream.content(info.offset_data, info.size) if is_file else None
        yield _Member(info.name, info.isdir(), is_file, content)


def _below(member: _Member, archive: Path) -> PurePosixPath:
    path = PurePosixPath(member.name.replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts or "\0" in member.name:
        raise InvalidModel(f"{archive}: {member.name!r} leads out of the folder")
    if not (member.is_file or member.is_folder):
        refused = "links and devices are refused; tar -h packs what links name"
        raise InvalidModel(f"{archive}: {member.name!r} is no file: {refused}")
    return path


def _is_of_mac(target: Path) -> bool:
    """Whether macOS made the file: attributes of another file, or a folder's appearance."""
    name = target.name
    return "__MACOSX" in target.parts or name == ".DS_Store" or name.startswith("._")


def _copy(member: _Member, target: Path, budget: int, archive: Path, max_bytes: int) -> int:
    """Write a file; the bytes written. Sizes that the archive declares are not believed."""
    written = 0
    with target.open("wb") as out:
        while member.content is not None and (chunk := member.content.read(CHUNK)):
            written += len(chunk)
            if written > budget:
                raise InvalidModel(f"{archive}: more than {max_bytes} bytes when unpacked")
            out.write(chunk)
    return written

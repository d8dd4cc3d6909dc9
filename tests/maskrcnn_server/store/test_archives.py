import bz2
import gzip
import io
import lzma
import stat
import tarfile
import zipfile
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest

from maskrcnn_server.errors import InvalidModel
from maskrcnn_server.store.archives import is_archive, unpack

FILES = {
    "train_log/model-7.index": b"index",
    "train_log/model-7.data-00000-of-00001": b"data" * 999,
}


def tar(path: Path, files: dict[str, bytes], *odd: tarfile.TarInfo) -> Path:
    with tarfile.open(path, "w:gz") as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
        for info in odd:
            archive.addfile(info)
    return path


def zipped(path: Path, files: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


@pytest.mark.parametrize(("make", "name"), [(tar, "m.tar.gz"), (tar, "m.tgz"), (zipped, "m.zip")])
def test_every_file_is_unpacked(
    tmp_path: Path, make: Callable[[Path, dict[str, bytes]], Path], name: str
) -> None:
    unpack(make(tmp_path / name, FILES), tmp_path / "out")
    assert is_archive(name)
    assert {
        str(p.relative_to(tmp_path / "out")): p.read_bytes()
        for p in (tmp_path / "out").rglob("*")
        if p.is_file()
    } == FILES


@pytest.mark.parametrize("name", ["../out.txt", "a/../../out.txt", "/etc/out.txt", "a\\..\\..\\b"])
@pytest.mark.parametrize("make", [tar, zipped])
def test_nothing_leads_out_of_the_folder(
    tmp_path: Path, make: Callable[[Path, dict[str, bytes]], Path], name: str
) -> None:
    with pytest.raises(InvalidModel, match="leads out of the folder"):
        unpack(make(tmp_path / "m.archive", {name: b"x"}), tmp_path / "in/out")
    assert not list(tmp_path.rglob("out.txt"))


@pytest.mark.parametrize(
    "kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE], ids=str
)
def test_links_and_devices_are_refused(tmp_path: Path, kind: bytes) -> None:
    odd = tarfile.TarInfo("model.npz")
    odd.type, odd.linkname = kind, "/etc/passwd"
    with pytest.raises(InvalidModel, match="links and devices are refused"):
        unpack(tar(tmp_path / "m.tar.gz", {}, odd), tmp_path / "out")
    assert not list((tmp_path / "out").iterdir())


def test_links_in_a_zip_are_refused(tmp_path: Path) -> None:
    info = zipfile.ZipInfo("model.npz")
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(tmp_path / "m.zip", "w") as archive:
        archive.writestr(info, "/etc/passwd")
    with pytest.raises(InvalidModel, match="links and devices are refused"):
        unpack(tmp_path / "m.zip", tmp_path / "out")


@pytest.mark.parametrize("make", [tar, zipped])
def test_bombs_stop_at_the_limit(
    tmp_path: Path, make: Callable[[Path, dict[str, bytes]], Path]
) -> None:
    archive = make(tmp_path / "m.archive", {"zeros": bytes(5_000_000)})
    assert archive.stat().st_size < 50_000
    with pytest.raises(InvalidModel, match="more than 1000000 bytes"):
        unpack(archive, tmp_path / "out", max_bytes=1_000_000)
    assert sum(p.stat().st_size for p in (tmp_path / "out").rglob("*") if p.is_file()) <= 1_000_000


def test_members_are_counted(tmp_path: Path) -> None:
    archive = tar(tmp_path / "m.tar.gz", {str(i): b"" for i in range(20)})
    with pytest.raises(InvalidModel, match="more than 10 members"):
        unpack(archive, tmp_path / "out", max_files=10)


@pytest.mark.parametrize("make", [tar, zipped])
@pytest.mark.parametrize("keep", [0, 10, 60], ids=str)
def test_damaged_archives_are_refused(
    tmp_path: Path, make: Callable[[Path, dict[str, bytes]], Path], keep: int
) -> None:
    archive = make(tmp_path / "m.archive", FILES)
    archive.write_bytes(archive.read_bytes()[:keep])
    with pytest.raises(InvalidModel, match="cannot be unpacked"):
        unpack(archive, tmp_path / "out")


@cache
def stored_zip() -> bytes:
    """A zip file as `torch.save` and `np.savez` write them: not compressed."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("model/data.pkl", b"pickle")
    return file.getvalue()


def zip_of(*names: str) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name in names:
            archive.writestr(name, b"x")
    return file.getvalue()


def plain_tar(path: Path, files: dict[str, bytes]) -> Path:
    path.write_bytes(gzip.decompress(tar(path, files).read_bytes()))
    return path


def gzip_of_level_0(path: Path, files: dict[str, bytes]) -> Path:
    path.write_bytes(gzip.compress(plain_tar(path, files).read_bytes(), 0))
    return path


def xz(path: Path, files: dict[str, bytes]) -> Path:
    path.write_bytes(lzma.compress(plain_tar(path, files).read_bytes()))
    return path


@pytest.mark.parametrize("make", [tar, plain_tar, gzip_of_level_0, xz, zipped])
@pytest.mark.parametrize("name", ["model.tar", "model.tar.gz", "model.zip"])
@pytest.mark.parametrize("file", ["model.pth", "model.npz", "run/model.pth"])
def test_an_archive_around_a_zip_file_is_told_by_its_beginning(
    make: Callable[[Path, dict[str, bytes]], Path], name: str, file: str, tmp_path: Path
) -> None:
    # It holds the time.
    whole = stored_zip()
    unpack(make(tmp_path / name, {file: whole}), tmp_path / "out")
    assert (tmp_path / "out" / file).read_bytes() == whole


@pytest.mark.parametrize("make", [tar, zipped])
@pytest.mark.parametrize(
    "name",
    [
        "._model.pth",
        "run/._model.pth",
        ".DS_Store",
        "run/.DS_Store",
        "__MACOSX/._model.pth",
        "__MACOSX/run/model.pth",
    ],
)
def test_what_macos_adds_to_archives_is_left_out(
    make: Callable[[Path, dict[str, bytes]], Path], name: str, tmp_path: Path
) -> None:
    unpack(make(tmp_path / "m", {name: b"\x00\x05\x16\x07", "run/model.pth": b"x"}), tmp_path / "o")
    assert [p for p in (tmp_path / "o").rglob("*") if p.is_file()] == [tmp_path / "o/run/model.pth"]


@pytest.mark.parametrize("name", ["model_best.pth.tar", "checkpoint.PTH.TAR"])
def test_a_file_of_pytorch_is_no_archive(name: str) -> None:
    assert not is_archive(name)


def bz2_tar(path: Path, files: dict[str, bytes]) -> Path:
    path.write_bytes(bz2.compress(plain_tar(path, files).read_bytes()))
    return path


@pytest.mark.parametrize(
    ("make", "name"),
    [(bz2_tar, "m.tar.bz2"), (bz2_tar, "m.tbz2"), (xz, "m.tar.xz"), (xz, "M.TXZ"), (tar, "M.TGZ")],
)
def test_tar_archives_of_every_compression_are_unpacked(
    make: Callable[[Path, dict[str, bytes]], Path], name: str, tmp_path: Path
) -> None:
    assert is_archive(name)
    unpack(make(tmp_path / name, FILES), tmp_path / "out")
    assert {p.read_bytes() for p in (tmp_path / "out/train_log").iterdir()} == {*FILES.values()}


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("m.zip", zip_of("archive/data.pkl", "archive/data/0"), "rename it to m.pth"),
        ("m.zip", zip_of("fpn/W.npy", "rpn/W.npy"), "rename it to m.npz"),
        ("m.tar.gz", gzip.compress(gzip.compress(bytes(2000), 0)), "no tar archive"),
        ("m.tar.gz", gzip.compress(stored_zip() * 20), "no tar archive"),
        ("m.tar.gz", b"\x28\xb5\x2f\xfd" + bytes(2000), "compressed by Zstandard"),
        ("m.zip", b"7z\xbc\xaf\x27\x1c" + bytes(2000), "of 7-Zip or RAR"),
        ("m.tar.gz", b"Rar!\x1a\x07\0" + bytes(2000), "of 7-Zip or RAR"),
        ("m.tar", b"version https://git-lfs.github.com/spec/v1\n", "Git LFS pointer"),
    ],
    ids=["PyTorch", "NumPy", "gzip twice", "zip in gzip", "Zstandard", "7-Zip", "RAR", "Git LFS"],
)
def test_what_is_no_archive_is_called_by_its_name(
    name: str, content: bytes, said: str, tmp_path: Path
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InvalidModel, match=said):
        unpack(tmp_path / name, tmp_path / "out")


@pytest.mark.parametrize(
    "content",
    [b"", b"PK", b"PK\x03\x04" + bytes(99), b"\x1f\x8b\x08" + bytes(99), bytes(2048), b"<html>"],
    ids=["empty", "PK", "no end", "gzip", "zeros", "page"],
)
def test_what_is_no_archive_is_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "m.tar.gz").write_bytes(content)
    with pytest.raises(InvalidModel, match=r"cannot be unpacked|holds no files"):
        unpack(tmp_path / "m.tar.gz", tmp_path / "out")


def test_a_tar_that_is_cut_off_is_not_said_to_be_whole(tmp_path: Path) -> None:
    whole = plain_tar(tmp_path / "m.tar", {"model.pth": bytes(3000)}).read_bytes()
    (tmp_path / "m.tar").write_bytes(whole[:2000])
    with pytest.raises(InvalidModel, match=r"cannot be unpacked \(unexpected end of data\)"):
        unpack(tmp_path / "m.tar", tmp_path / "out")


def test_an_archive_with_a_password_is_refused(tmp_path: Path) -> None:
    data = bytearray(zip_of("model.pth"))
    for start, flags in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        data[data.index(start) + flags] |= 1
    (tmp_path / "m.zip").write_bytes(data)
    with pytest.raises(InvalidModel, match=r"cannot be unpacked \(it is encrypted\)"):
        unpack(tmp_path / "m.zip", tmp_path / "out")


@pytest.mark.parametrize(
    "files",
    [
        {"Icon\r": b"x", "model.pth": b"x"},
        {"._.DS_Store": b"\0\5\x16\7", "__MACOSX/run/._model.pth": b"x", "model.pth": b"x"},
        {"./model.pth": b"x"},
        {"modèle é/model.pth": b"x"},
        {"code/inference.py": b"x", "model.pth": b"x"},
    ],
    ids=["icon", "twice hidden", "from here", "accents", "code"],
)
@pytest.mark.parametrize("make", [tar, plain_tar, gzip_of_level_0, xz, zipped])
def test_archives_of_every_tool_are_unpacked(
    make: Callable[[Path, dict[str, bytes]], Path], files: dict[str, bytes], tmp_path: Path
) -> None:
    unpack(make(tmp_path / "m", files), tmp_path / "out")
    (found,) = (tmp_path / "out").rglob("model.pth")
    assert found.read_bytes() == b"x"


def test_gzip_in_pieces_and_with_zeros_behind_is_unpacked(tmp_path: Path) -> None:
    whole = plain_tar(tmp_path / "m.tar", FILES).read_bytes()
    pieces = gzip.compress(whole[:700]) + gzip.compress(whole[700:]) + bytes(512)
    (tmp_path / "m.tar.gz").write_bytes(pieces)
    unpack(tmp_path / "m.tar.gz", tmp_path / "out")
    assert {p.read_bytes() for p in (tmp_path / "out/train_log").iterdir()} == {*FILES.values()}

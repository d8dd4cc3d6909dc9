import hashlib
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from maskrcnn_server.backend import ZooModel
from maskrcnn_server.errors import DownloadFailed, InvalidModel
from maskrcnn_server.store.model_store import MODEL_CARD, ModelStore

if TYPE_CHECKING:
    from tests.maskrcnn_server.conftest import Files

CONTENT = bytes(range(256)) * 20_000
ZOO = ZooModel(
    name="mine:R50",
    base_url="http://nowhere.invalid/zoo",
    file="COCO-R50.npz",
    box_ap=38.9,
    mask_ap=35.4,
    description="for tests",
)


@pytest.fixture(autouse=True)
def without_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("maskrcnn_server.store.downloads.time.sleep", lambda _: None)


@pytest.fixture
def store(tmp_path: Path, files: "Files") -> ModelStore:
    return ModelStore(cache=tmp_path / "cache", zoo={ZOO.name: ZOO}, zoo_url=f"{files.url}/zoo")


def archive(path: Path) -> Path:
    (path.parent / "content").write_bytes(CONTENT)
    with tarfile.open(path, "w:gz") as tar:
        tar.add(path.parent / "content", "train_log/model.npz")
    return path


def test_a_folder_is_itself(store: ModelStore, tmp_path: Path) -> None:
    assert store.resolve(str(tmp_path)) == tmp_path


def test_a_local_archive_is_unpacked_once(store: ModelStore, tmp_path: Path) -> None:
    path = archive(tmp_path / "model.tar.gz")
    folder = store.resolve(str(path))
    assert (folder / "train_log/model.npz").read_bytes() == CONTENT
    (folder / "mark").touch()
    assert (store.resolve(str(path)) / "mark").exists()


def test_a_file_is_no_folder(store: ModelStore, tmp_path: Path) -> None:
    (tmp_path / "model.pth").write_bytes(b"weights")
    with pytest.raises(InvalidModel, match=f"name the folder it is in: {tmp_path}$"):
        store.resolve(str(tmp_path / "model.pth"))


def test_an_archive_that_changed_is_unpacked_again(store: ModelStore, tmp_path: Path) -> None:
    path = archive(tmp_path / "model.tar.gz")
    before = store.resolve(str(path))
    path.write_bytes(archive(tmp_path / "other.tar.gz").read_bytes() + b"\0" * 512)
    assert store.resolve(str(path)) != before


def test_a_refused_archive_leaves_nothing(store: ModelStore, tmp_path: Path) -> None:
    (tmp_path / "model.zip").write_bytes(b"no archive")
    with pytest.raises(InvalidModel):
        store.resolve(str(tmp_path / "model.zip"))
    assert [p for p in store.cache.iterdir() if p.suffix != ".lock"] == []
    assert store.entries() == []


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("model.pth.gz", b"\x1f\x8b\x08" + bytes(99), "is compressed by gzip: unpack it"),
        ("model.7z", b"7z\xbc\xaf\x27\x1c", "is an archive of 7-Zip"),
        ("model.pth", b"", "is empty"),
        ("model.pth", b"<!DOCTYPE html>", "is an HTML page"),
    ],
)
def test_a_file_that_is_no_model_is_called_by_its_name(
    name: str, content: bytes, said: str, store: ModelStore, tmp_path: Path
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InvalidModel, match=said):
        store.resolve(str(tmp_path / name))


def test_a_name_of_the_zoo_is_downloaded_once(store: ModelStore, files: "Files") -> None:
    files.content["/zoo/COCO-R50.npz"] = CONTENT
    folder = store.resolve("mine:R50")
    assert (folder / "COCO-R50.npz").read_bytes() == CONTENT
    assert store.entries() == [("mine:R50", folder)]
    files.requests.clear()
    assert store.resolve("mine:R50") == folder
    assert [method for method, _ in files.requests] == ["HEAD"]


def test_a_model_of_the_zoo_comes_with_its_card(store: ModelStore, files: "Files") -> None:
    files.content["/zoo/COCO-R50.npz"] = CONTENT
    card = (store.resolve("mine:R50") / MODEL_CARD).read_text()
    assert "# mine:R50\n" in card
    assert "box AP 38.9, mask AP 35.4" in card
    assert f"{files.url}/zoo/COCO-R50.npz" in card
    assert hashlib.sha256(CONTENT).hexdigest() in card


def test_the_cache_serves_when_the_zoo_is_gone(store: ModelStore, files: "Files") -> None:
    files.content["/zoo/COCO-R50.npz"] = CONTENT
    folder = store.resolve("mine:R50")
    files.content.clear()
    assert store.resolve("mine:R50") == folder


def test_another_file_of_a_known_name_is_refused(store: ModelStore, files: "Files") -> None:
    files.content["/zoo/COCO-R50.npz"] = CONTENT
    folder = store.resolve("mine:R50")
    files.content["/zoo/COCO-R50.npz"] = CONTENT[::-1]
    with pytest.raises(DownloadFailed, match=r"SHA-256 is .*, but was .* at the first download"):
        store.resolve("mine:R50")
    assert (folder / "COCO-R50.npz").read_bytes() == CONTENT


def test_a_damaged_cache_is_fetched_again(store: ModelStore, files: "Files") -> None:
    files.content["/zoo/COCO-R50.npz"] = CONTENT
    folder = store.resolve("mine:R50")
    (folder / "COCO-R50.npz").write_bytes(b"damaged")
    assert (store.resolve("mine:R50") / "COCO-R50.npz").read_bytes() == CONTENT


@pytest.mark.parametrize("ranges", [True, False], ids=["resumed", "begun again"])
def test_a_cut_connection_is_taken_up_again(
    store: ModelStore, files: "Files", ranges: bool
) -> None:
    files.content["/m.npz"] = CONTENT
    files.cut_after = len(CONTENT) // 3 if ranges else None
    files.ranges = ranges
    folder = store.resolve(f"{files.url}/m.npz")
    assert (folder / "m.npz").read_bytes() == CONTENT
    if ranges:
        starts = [asked for method, asked in files.requests if method == "GET"]
        assert starts == [None, "bytes=1706666-", "bytes=3413332-", "bytes=5119998-"]


def test_a_later_call_goes_on_where_the_first_gave_up(store: ModelStore, files: "Files") -> None:
    files.content["/m.npz"] = CONTENT
    files.cut_after = len(CONTENT) // 20
    for _ in range(3):
        with pytest.raises(DownloadFailed, match=r"m\.npz: broke off 5 times"):
            store.resolve(f"{files.url}/m.npz")
    assert (store.resolve(f"{files.url}/m.npz") / "m.npz").read_bytes() == CONTENT


def test_a_download_shows_its_progress(tmp_path: Path, files: "Files") -> None:
    seen: list[tuple[str, int, int | None]] = []
    files.content["/m.npz"] = CONTENT
    store = ModelStore(cache=tmp_path, progress=lambda *step: seen.append(step))
    store.resolve(f"{files.url}/m.npz")
    assert seen[-1] == ("m.npz", len(CONTENT), len(CONTENT))


@pytest.mark.parametrize(
    ("where", "message"),
    [
        ("mine:R51", "a name of the zoo; that has: mine:R50"),
        ("mine:R50", "404"),
        ("http://127.0.0.1:1/m.npz", "refused"),
    ],
    ids=["unknown name", "missing", "nobody there"],
)
def test_what_is_not_there_is_named(store: ModelStore, where: str, message: str) -> None:
    with pytest.raises((DownloadFailed, InvalidModel), match=message):
        store.resolve(where)


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    import boto3
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    for name, value in {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_DEFAULT_REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("AWS_CA_BUNDLE", raising=False)
    client = boto3.client("s3")
    client.create_bucket(Bucket="models")
    yield client
    server.stop()


def test_an_archive_in_s3_is_downloaded_and_unpacked(
    store: ModelStore, s3: Any, tmp_path: Path
) -> None:
    s3.upload_file(str(archive(tmp_path / "m.tar.gz")), "models", "run/model.tar.gz")
    folder = store.resolve("s3://models/run/model.tar.gz")
    assert (folder / "train_log/model.npz").read_bytes() == CONTENT


def test_a_prefix_in_s3_is_a_folder_and_followed_when_it_changes(
    store: ModelStore, s3: Any
) -> None:
    s3.put_object(Bucket="models", Key="prefix/model-1.npz", Body=CONTENT)
    s3.put_object(Bucket="models", Key="prefix/sub/config.yaml", Body=b"a: 1")
    s3.put_object(Bucket="models", Key="prefixed/other", Body=b"not this one")
    folder = store.resolve("s3://models/prefix")
    inside = sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())
    assert inside == ["model-1.npz", "sub/config.yaml"]
    s3.put_object(Bucket="models", Key="prefix/sub/config.yaml", Body=b"a: 2")
    assert (store.resolve("s3://models/prefix/") / "sub/config.yaml").read_bytes() == b"a: 2"


@pytest.mark.usefixtures("s3")
def test_an_empty_prefix_in_s3_is_named(store: ModelStore) -> None:
    with pytest.raises(DownloadFailed, match="s3://models/absent: nothing is there"):
        store.resolve("s3://models/absent")


@pytest.mark.usefixtures("s3")
def test_a_missing_object_in_s3_is_named(store: ModelStore) -> None:
    with pytest.raises(DownloadFailed, match=r"s3://models/absent\.npz: .*404"):
        store.resolve("s3://models/absent.npz")


def test_processes_do_not_corrupt_one_cache(tmp_path: Path, files: "Files") -> None:
    """Six processes at once; one of them downloads, all see a whole file."""
    files.content["/m.npz"] = CONTENT
    program = """
import sys
from pathlib import Path
from maskrcnn_server.store.model_store import ModelStore
folder = ModelStore(cache=Path(sys.argv[1])).resolve(sys.argv[2])
print((folder / "m.npz").stat().st_size)
"""
    command = [sys.executable, "-c", program, str(tmp_path), f"{files.url}/m.npz"]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(6)]
    sizes = [process.communicate()[0].strip() for process in processes]
    assert sizes == [str(len(CONTENT))] * 6
    assert [method for method, _ in files.requests].count("GET") == 1

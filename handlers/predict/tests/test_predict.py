"""Images in folders and in S3, several at a time, and what predicts."""

import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import boto3
import numpy as np
import PIL.Image
import pytest

from maskrcnn_handlers.request import images
from maskrcnn_plugin_kit.testing import FakeBackend
from maskrcnn_predict import local, predictors
from maskrcnn_predict.concurrency import in_order
from maskrcnn_predict.local import ModelSpec
from maskrcnn_predict.sources import Source, check, contents, problem, sources, suffixes
from maskrcnn_predict.targets import Target, recognised
from maskrcnn_server.backend import ModelConfig
from maskrcnn_server.errors import (
    BackendFailed,
    DownloadFailed,
    InvalidImage,
    InvalidSetting,
    MaskRCNNError,
    NoAnswer,
)
from maskrcnn_server.options import Options
from maskrcnn_server.plugins import Plugins
from maskrcnn_server.settings import Settings
from maskrcnn_server.store.downloads import silent


def found(*places: str | Path) -> dict[str, Source]:
    listed = list(sources([str(place) for place in places]))
    assert len({source.name for source in listed}) == len(listed)
    return {source.name: source for source in listed}


def test_a_folder_is_searched_to_the_bottom(tmp_path: Path) -> None:
    for name in ("b/2.JPG", "a/1.png", "a/1/deep.tiff", "000000000139.jpg", "notes.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(name.encode())
    listed = found(tmp_path)
    ids = {
        "000000000139.jpg": 139,
        "a/1.png": "a/1.png",
        "a/1/deep.tiff": "a/1/deep.tiff",
        "b/2.JPG": "b/2.JPG",
    }
    assert {str(tmp_path / name): image_id for name, image_id in ids.items()} == {
        name: source.image_id for name, source in listed.items()
    }
    assert listed[str(tmp_path / "a/1.png")].read() == b"a/1.png"


def test_hidden_folders_and_files_are_passed_over(tmp_path: Path) -> None:
    names = ("a.png", ".thumbs/b.png", "._a.png", "__MACOSX/a.png", "deep/.git/c.png", "d.GIF")
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    assert list(found(tmp_path)) == [f"{tmp_path}/a.png", f"{tmp_path}/d.GIF"]


@pytest.mark.parametrize("names", [(), ("a.txt",), (".a.png",), ("b/c.csv", "b/d"), ("a.heic",)])
def test_a_folder_without_images_says_what_it_holds(tmp_path: Path, names: Sequence[str]) -> None:
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    with pytest.raises(InvalidImage, match="no image in this folder") as refused:
        check([str(tmp_path)])
    for suffix in (Path(name).suffix for name in names if not name.startswith(".")):
        assert f"{suffix or 'no suffix'} (1)" in refused.value.message
    (tmp_path / "a.png").write_bytes(b"")
    assert len(check([str(tmp_path), str(tmp_path / "absent"), "s3://a/b"])) == bool(
        names and not names[0].startswith(".")
    )


@pytest.mark.parametrize("content", [b"", b"text", b"%PDF-1.7", b"PK\3\4", b"<html>"])
def test_a_file_that_is_no_image_is_known_by_its_first_bytes(
    tmp_path: Path, content: bytes, png: bytes
) -> None:
    (tmp_path / "a.png").write_bytes(content)
    (tmp_path / "b.png").write_bytes(png)
    for place in (tmp_path / "a.png", tmp_path / "absent.png", tmp_path, "a\0b"):
        assert isinstance(problem(str(place)), InvalidImage)
    assert problem(str(tmp_path / "b.png")) is None


def test_a_version_changes_with_the_file(tmp_path: Path) -> None:
    picture = tmp_path / "a.png"
    picture.write_bytes(b"1")
    (before,) = sources([str(picture)])
    picture.write_bytes(b"22")
    (after,) = sources([str(picture)])
    assert before.version != after.version


def test_a_named_file_may_be_absent_or_of_any_name(tmp_path: Path) -> None:
    (source,) = sources([str(tmp_path / "photograph")])
    assert source.image_id == "photograph"
    with pytest.raises(InvalidImage, match="No such file"):
        source.read()


def test_what_is_far_too_large_is_not_read(tmp_path: Path) -> None:
    huge = tmp_path / "huge.png"
    with huge.open("wb") as file:
        file.truncate((1 << 30) + 1)
    with pytest.raises(InvalidImage, match="at most"):
        contents(huge)


@pytest.mark.usefixtures("aws")
def test_a_prefix_is_listed_page_by_page() -> None:
    s3 = boto3.client("s3")
    names = ["in/1.jpg", "in/deep/2.png", "in/notes.txt", "in/folder.png/", "inside/3.jpg"]
    for name in names:
        s3.put_object(Bucket="models", Key=name, Body=name.encode())
    listed = found("s3://models/in")
    assert {name: source.image_id for name, source in listed.items()} == {
        "s3://models/in/1.jpg": 1,
        "s3://models/in/deep/2.png": "deep/2.png",
    }
    assert listed["s3://models/in/deep/2.png"].read() == b"in/deep/2.png"
    assert list(found("s3://models/in/1.jpg")) == ["s3://models/in/1.jpg"]
    assert len(found("s3://models")) == 3
    stale = listed["s3://models/in/1.jpg"]
    s3.put_object(Bucket="models", Key="in/1.jpg", Body=b"another")
    assert found("s3://models/in")["s3://models/in/1.jpg"].version != stale.version
    with pytest.raises(InvalidImage):
        stale.read()


@pytest.mark.usefixtures("aws")
def test_more_keys_than_a_page_has_are_all_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MOTO_S3_DEFAULT_MAX_KEYS", "3")
    s3 = boto3.client("s3")
    for i in range(7):
        s3.put_object(Bucket="models", Key=f"many/{i}.jpg", Body=b"")
    assert "NextContinuationToken" in s3.list_objects_v2(Bucket="models", Prefix="many/")
    assert len(found("s3://models/many/")) == 7


@pytest.mark.usefixtures("aws")
def test_a_bucket_that_is_not_there_is_said() -> None:
    with pytest.raises(DownloadFailed, match="s3://absent/"):
        list(sources(["s3://absent/x"]))
    with pytest.raises(InvalidSetting, match="not an address"):
        list(sources(["s3://"]))


def test_results_come_in_order_and_some_at_a_time() -> None:
    taken: list[int] = []
    together = most = 0
    lock = threading.Lock()

    def items() -> Iterator[int]:
        for i in range(40):
            taken.append(i)
            yield i

    def ask(item: int) -> int:
        nonlocal together, most
        with lock:
            together += 1
            most = max(most, together)
        time.sleep(0.002 * (item % 3))
        with lock:
            together -= 1
        return item * item

    for i, (item, answer) in enumerate(in_order(ask, items(), 3)):
        assert (item, answer) == (i, i * i)
        assert len(taken) <= i + 6, "no more are taken than there is room for"
    assert most == 3


def test_an_error_about_one_image_takes_the_place_of_its_result() -> None:
    def ask(item: MaskRCNNError) -> Any:
        raise item

    errors = [InvalidImage("cut off"), BackendFailed("crashed")]
    assert list(in_order(ask, errors, 2)) == [(e, e) for e in errors]


def test_what_goes_wrong_with_all_ends_it() -> None:
    asked: list[int] = []

    def ask(item: int) -> Any:
        asked.append(item)
        raise NoAnswer("nobody is there")

    with pytest.raises(NoAnswer):
        list(in_order(ask, range(1000), 2))
    assert len(asked) <= 5


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("http://127.0.0.1:8080", "url"),
        ("https://host/models/a/invoke", "url"),
        ("https://host/model.tar.gz", "model"),
        ("s3://bucket/run", "model"),
        ("tensorpack:R50FPN2x", "model"),
        (".", "model"),
        ("model.npz", "model"),
        ("my-endpoint-2", "endpoint"),
    ],
)
def test_a_target_is_what_it_looks_like(text: str, kind: str) -> None:
    assert recognised(text, Plugins()).kind == kind


def test_what_is_written_of_a_target_is_no_secret() -> None:
    target = recognised("https://me:secret@host:8080/models/a/invoke?key=secret", Plugins())
    assert str(target) == "url https://host:8080/models/a/invoke"


def test_a_target_that_looks_like_nothing_is_refused() -> None:
    with pytest.raises(InvalidSetting, match="neither"):
        recognised("./absent/folder", Plugins())


def test_a_model_in_this_process_needs_nothing_more_and_sees_every_pixel(
    monkeypatch: pytest.MonkeyPatch,
    settings: Settings,
    tmp_path: Path,
    encode: Callable[..., bytes],
) -> None:
    """The client is not there, and the server's limit does not hold."""
    for library in ("maskrcnn_client", "httpx", "boto3"):
        monkeypatch.setitem(sys.modules, library, None)
    model = FakeBackend().load(ModelConfig(model_dir=tmp_path))
    monkeypatch.setattr(local, "open_model", lambda *_: model)
    noise = encode(np.random.RandomState(0).randint(0, 256, (700, 700, 3), np.uint8))
    assert len(noise) > settings.max_payload_mb * 2**20
    with predictors.in_process(ModelSpec(address=str(tmp_path)), silent, 2) as predictor:
        found = predictor.predict(noise, Options(masks=False))
    assert (len(found), found.notes) == (3, ())


def test_a_server_needs_the_client(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "maskrcnn_client", None)
    opening = predictors.opened(Target("url", "http://127.0.0.1:9"), Plugins(), silent)
    said = "^maskrcnn-client is not installed: pip install maskrcnn-client$"
    with pytest.raises(InvalidSetting, match=said), opening:
        pass


def test_a_server_finds_what_the_model_in_this_process_finds(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, url: str, png: bytes
) -> None:
    model = FakeBackend().load(ModelConfig(model_dir=tmp_path))
    monkeypatch.setattr(local, "open_model", lambda *_: model)
    with (
        predictors.in_process(ModelSpec(address=str(tmp_path)), silent, 2) as here,
        predictors.opened(Target("url", url), Plugins(), silent) as there,
    ):
        one, other = here.predict(png), there.predict(png)
        with pytest.raises(InvalidImage):
            here.predict(b"no image")
        with pytest.raises(InvalidImage):
            there.predict(b"no image")
    assert one.to_coco(7) == other.to_coco(7)
    assert one.names == other.names == ["red"]
    np.testing.assert_array_equal(np.asarray(one.draw()), np.asarray(other.draw()))


def test_every_suffix_that_pillow_knows_of_these_formats_is_taken() -> None:
    known = PIL.Image.registered_extensions().items()
    assert {suffix for suffix, form in known if form in images.FORMATS} <= {*suffixes()}

"""Parts of a result: what is done, what is not, and one line for each image in the end."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import boto3
import pytest

from maskrcnn_ray import formats, stores
from maskrcnn_ray.formats import JsonLines, Parquet
from maskrcnn_ray.parts import Parts, done_key
from maskrcnn_server.errors import DownloadFailed, InvalidSetting

if TYPE_CHECKING:
    from pathlib import Path

RESULT = {
    "category_id": 3,
    "category_name": "car",
    "bbox": [1.0, 2.0, 3.0, 4.5],
    "score": 0.75,
    "area": 7.0,
    "segmentation": {"size": [8, 10], "counts": "abc"},
}
ASKED = {"target": "model a", "score_threshold": None}


def line(name: str, version: str = "1", error: str | None = None) -> dict[str, Any]:
    told: dict[str, Any] = {"results": [RESULT]}
    if error is not None:
        told = {"error": {"code": "invalid_image", "message": error}}
    return {"picture": name, "image_id": 7, "version": version, **told}


@pytest.fixture(params=["folder", "s3"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "s3":
        request.getfixturevalue("aws")
        stores._client.cache_clear()
        return "s3://models/out"
    return str(tmp_path / "out")


@pytest.fixture(params=[JsonLines, Parquet], ids=["json", "parquet"])
def parts(request: pytest.FixtureRequest, place: str) -> Parts:
    if request.param is Parquet:
        pytest.importorskip("pyarrow")
    return Parts(stores.store(place), request.param(), ASKED, run=1)


def test_what_is_written_is_done(parts: Parts) -> None:
    parts.write([line("a"), line("b", error="cut off")])
    assert parts.done().tolist() == [done_key("a", "1")]
    assert done_key("a", "2") != done_key("a", "1") != done_key("b", "1")
    kept = list(parts.lines())
    assert [each["picture"] for each in kept] == ["a", "b"]
    assert kept[0]["results"] == [RESULT]
    assert "results" not in kept[1]
    assert kept[1]["error"]["message"] == "cut off"


def test_the_same_images_are_the_same_part(parts: Parts) -> None:
    """A batch that two workers did is there once."""
    assert parts.write([line("a"), line("b")]) == parts.write([line("a"), line("b")])
    assert len(parts.heads()) == 1


def test_the_latest_line_of_an_image_stays(parts: Parts) -> None:
    parts.write([line("a"), line("b"), line("c", error="cut off")])
    later = replace(parts, run=2)
    later.write([line("b", version="2"), line("c")])
    later.write([line("d"), line("d")])
    assert later.tidy() == 3
    kept = {each["picture"]: each["version"] for each in later.lines()}
    assert kept == {"a": "1", "b": "2", "c": "1", "d": "1"}
    assert len(list(later.lines())) == 4
    assert all("results" in each for each in later.lines())
    assert later.tidy() == 0


def test_a_part_with_nothing_of_its_own_goes(parts: Parts) -> None:
    parts.write([line("a", error="cut off")])
    replace(parts, run=2).write([line("a"), line("b")])
    assert parts.tidy() == 1
    assert len(parts.heads()) == 1


def test_results_of_something_else_are_not_mixed(parts: Parts) -> None:
    parts.write([line("a")])
    other = replace(parts, asked={"target": "model b"})
    with pytest.raises(InvalidSetting, match="--restart"):
        other.done()
    other.clear()
    assert other.done().tolist() == []
    assert other.tidy() == 0


def test_what_is_no_part_is_not_removed(parts: Parts) -> None:
    parts.store.write(f"notes{parts.format.suffix}", b"my notes\n")
    for operation in (parts.clear, parts.done, parts.tidy):
        with pytest.raises(InvalidSetting, match="not a part"):
            operation()
    assert parts.store.read(f"notes{parts.format.suffix}") == b"my notes\n"


def test_parquet_without_pyarrow_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    with pytest.raises(InvalidSetting, match=r"maskrcnn-ray\[parquet\]"):
        formats.parquet()


def test_a_store_that_is_not_there_is_said(aws: str, tmp_path: Path) -> None:
    assert aws
    stores._client.cache_clear()
    with pytest.raises(DownloadFailed, match="absent"):
        stores.store("s3://absent/x").write("a.jsonl", b"")
    (tmp_path / "file").write_text("")
    with pytest.raises(InvalidSetting, match="file"):
        stores.store(str(tmp_path / "file" / "out")).write("a.jsonl", b"")
    assert boto3.client("s3").list_objects_v2(Bucket="models")["KeyCount"] == 0

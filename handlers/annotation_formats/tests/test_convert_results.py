"""Stored answers of the old containers, in each format."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO

from maskrcnn_annotation_formats import reading
from maskrcnn_annotation_formats.convert_results import convert_results
from maskrcnn_server.errors import InvalidSetting, RequestError
from maskrcnn_server.plugins import Plugins

# pycocotools 2.0.11 hands numpy an array in a way that numpy 2 deprecates.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

LIMIT = 10_000


def annotation(**fields: Any) -> dict[str, Any]:
    """A stop sign, as the old containers wrote it: pixels 2..4 of the first row, and all of the
    second."""
    segmentation = {"counts": [2, 3, 5, 10, 60], "size": [8, 10]}
    whole = {"bbox": [0, 0, 10, 2], "category_id": 12, "category_name": "stop sign"}
    return {**whole, "segmentation": segmentation, **fields}


def answer(name: str = "000000000139.jpg", *annotations: Any) -> dict[str, Any]:
    return {"img_id": name, "annotations": list(annotations or [annotation()])}


MASK = np.zeros((8, 10), np.bool_)
MASK[0, 2:5] = MASK[1] = True


@pytest.fixture
def keep(tmp_path: Path) -> Callable[..., Path]:
    """Writes a file of answers."""

    def kept(content: Any, name: str = "answers.json") -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        data = content if isinstance(content, bytes) else json.dumps(content).encode()
        path.write_bytes(data)
        return path

    return kept


def test_an_old_answer_becomes_coco_results(keep: Callable[..., Path], tmp_path: Path) -> None:
    out = tmp_path / "made/results.json"
    convert_results([keep(answer())], "coco", out)
    truth = COCO()
    truth.dataset = {
        "info": {},
        "images": [{"id": 139, "height": 8, "width": 10}],
        "categories": [{"id": 13, "name": "stop sign"}],
        "annotations": [],
    }
    truth.createIndex()
    (result,) = truth.loadRes(str(out)).anns.values()
    assert (result["category_id"], result["score"], result["bbox"]) == (13, 1, [0, 0, 10, 2])
    np.testing.assert_array_equal(coco_mask.decode(result["segmentation"]), MASK)


@pytest.mark.parametrize("name", Plugins().formats())
def test_an_old_answer_becomes_any_format(
    keep: Callable[..., Path], tmp_path: Path, name: str
) -> None:
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    PIL.Image.new("RGB", (10, 8)).save(pictures / "000000000139.jpg")
    convert_results([keep(answer())], name, tmp_path / "out", pictures)
    (written,) = (tmp_path / "out").iterdir()
    assert written.stem == "000000000139"
    assert written.suffix in {".json", ".geojson", ".txt", ".png", ".jpg"}
    assert written.stat().st_size > 10


def test_the_default_format_comes_back_as_it_was(keep: Callable[..., Path], tmp_path: Path) -> None:
    kept = answer("a.png", annotation(score=0.75))
    convert_results([keep(kept)], "sagemaker", tmp_path / "out")
    assert json.loads((tmp_path / "out/a.json").read_text()) == kept


@pytest.mark.parametrize(
    ("content", "name"),
    [
        ([answer("a"), answer("b")], "list.json"),
        ({"predictions": [answer("a"), answer("b")]}, "several.json"),
        (b"\n".join(json.dumps(answer(n)).encode() for n in "ab") + b"\n\n", "lines.jsonl"),
    ],
)
def test_a_file_may_hold_several(keep: Callable[..., Path], content: Any, name: str) -> None:
    entries = list(reading.stored([keep(content, name)]))
    assert [e.content.img_id for e in entries if isinstance(e.content, reading.Annotations)] == [
        "a",
        "b",
    ]
    assert [e.place.rpartition(":")[2] for e in entries] == ["1", "2"]


def test_a_folder_is_all_its_answers(keep: Callable[..., Path], tmp_path: Path) -> None:
    keep(answer("a"), "kept/a.json")
    keep(answer("b"), "kept/deep/b.jpg.out")
    keep(b"no answer", "kept/notes.txt")
    names = [e.content for e in reading.stored([tmp_path / "kept"])]
    assert [a.img_id for a in names if isinstance(a, reading.Annotations)] == ["a", "b"]


def test_an_answer_without_a_name_has_its_files(keep: Callable[..., Path]) -> None:
    (entry,) = reading.stored([keep(answer(""), "street.jpg.out")])
    assert isinstance(entry.content, reading.Annotations)
    assert entry.content.img_id == "street.jpg"


BROKEN: dict[str, Any] = {
    "no JSON": b"\xff{",
    "empty": b"",
    "deep": b"[" * 100_000,
    "a number": 7,
    "no name": {"annotations": []},
    "too few runs": answer("a", annotation(segmentation={"counts": [2, 3], "size": [8, 10]})),
    "negative run": answer("a", annotation(segmentation={"counts": [-1, 81], "size": [8, 10]})),
    "huge run": answer("a", annotation(segmentation={"counts": [10**30], "size": [8, 10]})),
    "huge size": answer("a", annotation(segmentation={"counts": [0], "size": [10**9, 10**9]})),
    "many pixels": answer("a", annotation(segmentation={"counts": [10**6], "size": [1000, 1000]})),
    "no size": answer("a", annotation(segmentation={"counts": [80], "size": [0, 10]})),
    "two sizes": answer(
        "a", annotation(), annotation(segmentation={"counts": [80], "size": [10, 8]})
    ),
    "some masks": answer("a", annotation(), annotation(segmentation=None)),
    "boxes only": answer("a", annotation(segmentation=None)),
    "NaN box": b'{"img_id": "a", "annotations": [{"bbox": [NaN, 0, 1, 1], "category_id": 1, '
    b'"category_name": "a"}]}',
    "score NaN": json.dumps(answer("a", annotation(score=float("nan")))).encode(),
    "score 2": answer("a", annotation(score=2)),
    "background": answer("a", annotation(category_id=0)),
    "two names": answer("a", annotation(), annotation(category_name="cat")),
    "an error": {"error": {"code": "invalid_image"}, "request_id": "1"},
}


@pytest.mark.parametrize("content", BROKEN.values(), ids=BROKEN)
def test_a_broken_answer_is_told_and_the_others_are_written(
    keep: Callable[..., Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    content: Any,
) -> None:
    monkeypatch.setenv("MASKRCNN_MAX_IMAGE_PIXELS", str(LIMIT))
    files = [keep(content, "broken.json"), keep(answer("good"), "good.json")]
    with pytest.raises(RequestError, match="1 of 2 results"):
        convert_results(files, "polygons", tmp_path / "out")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["good.json"]
    said = capsys.readouterr().out
    assert f"{files[0]}: " in said
    assert len(said) < 1000


def test_boxes_outside_the_image_are_cut(keep: Callable[..., Path]) -> None:
    wild = answer("a", annotation(bbox=[-5, -5, 1e30, 3]), annotation(bbox=[3, 3, -7, 1]))
    (entry,) = reading.stored([keep(wild)])
    assert isinstance(entry.content, reading.Annotations)
    found = reading.prediction(entry.content, None, LIMIT).detections
    assert found.boxes.tolist() == [[0, 0, 10, 0], [3, 3, 3, 4]]


def test_the_best_come_first(keep: Callable[..., Path]) -> None:
    two = answer("a", annotation(score=0.25), annotation(score=0.75, category_id=1))
    (entry,) = reading.stored([keep(two)])
    assert isinstance(entry.content, reading.Annotations)
    found = reading.prediction(entry.content, None, LIMIT).detections
    assert found.category_ids.tolist() == [1, 12]


def test_names_that_are_not_cocos_keep_their_numbers(
    keep: Callable[..., Path], tmp_path: Path
) -> None:
    own = answer("a", annotation(category_name="bolt"))
    convert_results([keep(own)], "coco", tmp_path / "out.json")
    assert json.loads((tmp_path / "out.json").read_text())[0]["category_id"] == 12


def test_images_in_which_nothing_was_found_are_left_out(
    keep: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    empty = {"img_id": "b", "annotations": []}
    convert_results([keep([answer("a"), empty])], "coco", tmp_path / "out.json")
    assert "1 more are empty" in capsys.readouterr().out


def test_with_the_images_there_are_files_of_nothing(
    keep: Callable[..., Path], tmp_path: Path
) -> None:
    PIL.Image.new("RGB", (10, 8)).save(tmp_path / "b.png")
    empty = {"img_id": "b.png", "annotations": []}
    convert_results([keep(empty)], "labelme", tmp_path / "out", tmp_path)
    written = json.loads((tmp_path / "out/b.json").read_text())
    assert (written["shapes"], written["imageHeight"]) == ([], 8)


@pytest.mark.parametrize("name", ["absent.png", "../b.png", "", "..", "/etc/hostname"])
def test_an_image_that_is_not_in_the_folder_is_told(
    keep: Callable[..., Path], tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    PIL.Image.new("RGB", (10, 8)).save(tmp_path / "b.png")
    (tmp_path / "pictures").mkdir()
    with pytest.raises(RequestError, match="1 of 1"):
        convert_results([keep(answer(name))], "overlay", tmp_path / "out", tmp_path / "pictures")
    assert "there is no image" in capsys.readouterr().out


def test_masks_of_another_image_are_told(
    keep: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    PIL.Image.new("RGB", (11, 8)).save(tmp_path / "a.png")
    with pytest.raises(RequestError, match="1 of 1"):
        convert_results([keep(answer("a.png"))], "overlay", tmp_path / "out", tmp_path)
    assert "a mask of size (8, 10) in an image of (8, 11)" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("../../../etc/passwd", "passwd.txt"),
        ("/etc/cron.d/a.jpg", "a.txt"),
        ("..", "_.txt"),
        (".bashrc", "_bashrc.txt"),
        ("a\0b\n.png", "a_b_.txt"),
        ("", "answers.txt"),
        ("/", "result.txt"),
        ("x" * 5000, "x" * 200 + ".txt"),
        (7, "7.txt"),
    ],
)
def test_files_stay_in_their_folder(
    keep: Callable[..., Path], tmp_path: Path, name: Any, expected: str
) -> None:
    convert_results([keep(answer(name))], "yolo-seg", tmp_path / "out")
    assert [path.name for path in (tmp_path / "out").iterdir()] == [expected]


def test_images_of_one_name_get_numbers(keep: Callable[..., Path], tmp_path: Path) -> None:
    kept = keep([answer("a/1.png"), answer("b/1.png"), answer("1.jpg")])
    convert_results([kept], "yolo-seg", tmp_path / "out")
    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert names == ["1-2.txt", "1-3.txt", "1.txt"]


@pytest.mark.parametrize(
    ("form", "out", "why"),
    [
        ("yolo", "out", "no such format; there are sagemaker"),
        ("overlay", "out", "--images"),
        ("yolo-seg", "out.json", "--out must be a folder"),
    ],
)
def test_what_cannot_be_done_is_said_first(
    keep: Callable[..., Path], tmp_path: Path, form: str, out: str, why: str
) -> None:
    with pytest.raises(InvalidSetting, match=why):
        convert_results([keep(answer())], form, tmp_path / out)


def test_the_command_converts(keep: Callable[..., Path], tmp_path: Path) -> None:
    command = [sys.executable, "-m", "maskrcnn_handlers", "convert-results", keep(answer())]
    done = subprocess.run(
        [*map(str, command), "--format", "coco", "--out", str(tmp_path / "results.json")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "1 results written to" in done.stdout
    assert len(json.loads((tmp_path / "results.json").read_text())) == 1

"""Annotations as tools write them: the right numbers, or one line before anything is sent."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import PIL.Image
import pytest
from typer.testing import CliRunner

from maskrcnn_client import Client
from maskrcnn_handlers.cli.main import program
from maskrcnn_predict.child import served
from maskrcnn_server.errors import InvalidSetting
from maskrcnn_server.plugins import Plugins
from maskrcnn_study.annotations import coco_set
from maskrcnn_study.evaluation import measure
from maskrcnn_study.matching import matched
from maskrcnn_tensorpack.plugin import DEMO

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

CASES = Path(__file__).parent / "coco_truth"
IMAGES = Path(__file__).parents[3] / "tests/demo/val200/images"
Change = Callable[[dict[str, Any]], object]


@pytest.fixture
def truth(tmp_path: Path) -> dict[str, Any]:
    """Two images of 60 x 40, a cat in one and a hot dog in the other."""
    for name in ("1.png", "2.png"):
        PIL.Image.new("RGB", (60, 40)).save(tmp_path / name)
    outline = [10, 5, 40, 5, 40, 35, 10, 35]
    return {
        "images": [{"id": i, "file_name": f"{i}.png", "height": 40, "width": 60} for i in (1, 2)],
        "categories": [{"id": 1, "name": "cat"}, {"id": 2, "name": "hot dog"}],
        "annotations": [
            {
                **{"id": i, "image_id": i, "category_id": i, "bbox": [10, 5, 30, 30]},
                **{"area": 900, "iscrowd": 0, "segmentation": [outline]},
            }
            for i in (1, 2)
        ],
    }


def results(categories: list[int]) -> list[Any]:
    """What a model finds that is right about every object, and about a bird as well."""
    names = {1: "cat", 2: "hot dog", 3: "bird"}
    mask = {"size": [40, 60], "counts": ""}
    import pycocotools.mask

    outline = [[10, 5, 40, 5, 40, 35, 10, 35]]
    (run,) = pycocotools.mask.frPyObjects(outline, 40, 60)
    mask["counts"] = run["counts"].decode()
    return [
        {
            **{"image_id": image, "category_id": i, "category_name": names[i], "score": 0.9},
            **{"bbox": [10, 5, 30, 30], "area": 900, "segmentation": mask},
        }
        for image, i in [(1, 1), (2, 2), (1, 3), (2, 3)]
        if i in categories
    ]


def each(name: str, change: Callable[[dict[str, Any]], object]) -> Change:
    return lambda truth: [change(entry) for entry in truth[name]]


def without(name: str, field: str) -> Change:
    return each(name, lambda entry: entry.pop(field))


def with_value(name: str, field: str, value: Any) -> Change:
    return each(name, lambda entry: entry.update({field: value}))


def by_text(truth: dict[str, Any]) -> None:
    for name, fields in {
        "images": ["id"],
        "categories": ["id"],
        "annotations": ["id", "image_id", "category_id"],
    }.items():
        for entry in truth[name]:
            for field in fields:
                entry[field] = f"id-{entry[field]}"


def numbers_as_text(truth: dict[str, Any]) -> None:
    for entry in truth["annotations"]:
        entry["image_id"], entry["category_id"] = str(entry["image_id"]), float(entry["id"])


def from_zero(truth: dict[str, Any]) -> None:
    for entry in (*truth["images"], *truth["categories"], *truth["annotations"]):
        for field in ("id", "image_id", "category_id"):
            if field in entry:
                entry[field] -= 1


def run_lengths(entry: dict[str, Any]) -> None:
    counts = [10 * 40 + 5] + [30, 10] * 29 + [30, 5 + 40 * 20]
    entry["segmentation"] = {"size": [40, 60], "counts": counts}


RIGHT: dict[str, Change] = {
    "as it is": dict.copy,
    "no iscrowd": without("annotations", "iscrowd"),
    "iscrowd null": with_value("annotations", "iscrowd", None),
    "iscrowd false": with_value("annotations", "iscrowd", False),
    "iscrowd as text": with_value("annotations", "iscrowd", "0"),
    "no area": without("annotations", "area"),
    "area null": with_value("annotations", "area", None),
    "area as text": with_value("annotations", "area", "900"),
    "no bbox": without("annotations", "bbox"),
    "bbox empty": with_value("annotations", "bbox", []),
    "bbox as texts": with_value("annotations", "bbox", ["10", "5", "30", "30"]),
    "no annotation ids": without("annotations", "id"),
    "annotation ids null": with_value("annotations", "id", None),
    "one annotation id": with_value("annotations", "id", 7),
    "annotation id 0": with_value("annotations", "id", 0),
    "no height": without("images", "height"),
    "width 0": with_value("images", "width", 0),
    "sizes as text": with_value("images", "height", "40"),
    "ids as text": by_text,
    "numbers as text": numbers_as_text,
    "ids from 0": from_zero,
    "no categories": lambda truth: truth.pop("categories"),
    "categories null": lambda truth: truth.update(categories=None),
    "categories empty": lambda truth: truth.update(categories=[]),
    "names in capitals": each("categories", lambda c: c.update(name=c["name"].upper())),
    "names with underscores": each(
        "categories", lambda c: c.update(name=c["name"].replace(" ", "_"))
    ),
    "names with a space after": each("categories", lambda c: c.update(name=c["name"] + " ")),
    "file names in a folder": each(
        "images", lambda i: i.update(file_name="val/images/" + i["file_name"])
    ),
    "file names of Windows": each(
        "images", lambda i: i.update(file_name="C:\\data\\" + i["file_name"])
    ),
    "file names from the root": each(
        "images", lambda i: i.update(file_name="/data/" + i["file_name"])
    ),
    "file names from here": each("images", lambda i: i.update(file_name="./" + i["file_name"])),
    "images listed twice": lambda truth: truth.update(images=truth["images"] * 2),
    "annotations there twice": lambda truth: truth.update(annotations=truth["annotations"] * 2),
    "one polygon, not in a list": each(
        "annotations", lambda a: a.update(segmentation=a["segmentation"][0])
    ),
    "points": with_value("annotations", "segmentation", [[10, 5], [40, 5], [40, 35], [10, 35]]),
    "polygons of points": with_value(
        "annotations", "segmentation", [[[10, 5], [40, 5], [40, 35], [10, 35]]]
    ),
    "a polygon of two points besides": each(
        "annotations", lambda a: a["segmentation"].append([1, 1, 2, 2])
    ),
    "run lengths": each("annotations", run_lengths),
    "a category that is there twice": lambda truth: truth["categories"].append(
        {"id": 9, "name": "cat"}
    ),
    "annotations of an image that is not listed": lambda truth: truth["annotations"].append(
        {**truth["annotations"][0], "id": 9, "image_id": 99}
    ),
    "bbox without a width": with_value("annotations", "bbox", [10, 5, 0, 30]),
    "a parent of the classes, from 0": lambda truth: truth["categories"].insert(
        0, {"id": 0, "name": "pets", "supercategory": "none"}
    ),
    "keypoints besides": each("annotations", lambda a: a.update(keypoints=[1, 2, 2] * 17)),
    "categories without a text for a name": with_value("categories", "name", " "),
    "a closed polygon": each("annotations", lambda a: a["segmentation"][0].extend([10, 5])),
    "coordinates as text": each(
        "annotations", lambda a: a.update(segmentation=[[str(n) for n in a["segmentation"][0]]])
    ),
    "negative ids of images": lambda truth: [
        entry.update({field: -entry[field]})
        for name, field in (("images", "id"), ("annotations", "image_id"))
        for entry in truth[name]
    ],
    "a BOM": lambda truth: truth.update(bom=True),
}


def write(folder: Path, truth: Any) -> Path:
    path = folder / "truth.json"
    is_marked = isinstance(truth, dict) and truth.pop("bom", False)
    path.write_text(json.dumps(truth), "utf-8-sig" if is_marked else "utf-8")
    return path


@pytest.mark.parametrize("name", RIGHT)
def test_what_tools_write_is_measured(name: str, truth: dict[str, Any], tmp_path: Path) -> None:
    RIGHT[name](truth)
    read = coco_set(write(tmp_path, truth), tmp_path)
    model = {1: "cat", 2: "hot dog", 3: "bird"}
    found = [dict(r) for r in results([1, 2, 3])]
    renamed = dict(zip((1, 2), read.paths, strict=True))
    for result in found:
        result["image_id"] = renamed[result["image_id"]]
    figures = measure(read, list(matched(model, read.categories).renumbered(found)))  # type: ignore[arg-type]
    for kind in ("bbox", "segm"):
        assert figures[kind].numbers["AP"] == pytest.approx(1), read.notes


@pytest.mark.parametrize(
    "change",
    [
        without("annotations", "segmentation"),
        with_value("annotations", "segmentation", None),
        with_value("annotations", "segmentation", []),
        with_value("annotations", "segmentation", [[]]),
        with_value("annotations", "segmentation", {}),
        with_value("annotations", "segmentation", [[10, 5, 40, 35]]),
        with_value("annotations", "segmentation", {"size": [40, 60], "counts": [2400]}),
    ],
    ids=["none", "null", "empty", "empty polygon", "empty object", "two points", "no pixel"],
)
def test_boxes_without_masks_are_measured_alone(
    change: Change, truth: dict[str, Any], tmp_path: Path
) -> None:
    change(truth)
    read = coco_set(write(tmp_path, truth), tmp_path)
    assert not read.has_masks
    assert "2, first annotations[0]" in "".join(read.notes)
    figures = measure(read, results([1, 2]))
    assert {kind: f.numbers["AP"] for kind, f in figures.items()} == {"bbox": pytest.approx(1)}


def test_an_object_without_a_mask_counts_for_its_box_alone(
    truth: dict[str, Any], tmp_path: Path
) -> None:
    truth["annotations"][1]["segmentation"] = []
    figures = measure(coco_set(write(tmp_path, truth), tmp_path), results([1, 2]))
    assert figures["bbox"].per_category["hot dog"] == pytest.approx(1)
    assert figures["segm"].per_category == {"cat": pytest.approx(1), "hot dog": -1}


def test_boxes_that_are_not_those_of_their_masks_are_noted(
    truth: dict[str, Any], tmp_path: Path
) -> None:
    truth["annotations"][0]["bbox"] = [12, 6, 27, 28]
    assert not coco_set(write(tmp_path, truth), tmp_path).notes
    # Points of x, y, z, of which nobody can tell.
    truth["annotations"][1]["segmentation"] = [[10, 5, 0, 40, 5, 0, 40, 35, 0, 10, 35, 0]]
    said = "boxes that are not those of their masks: 1, first annotations[1]"
    assert said in coco_set(write(tmp_path, truth), tmp_path).notes


def put(name: str, field: str, value: Any) -> Change:
    return lambda truth: truth[name][1].update({field: value})


def shares(entry: dict[str, Any]) -> None:
    entry["bbox"] = [number / 60 for number in entry["bbox"]]
    entry["segmentation"] = [[number / 60 for number in entry["segmentation"][0]]]


def caption(entry: dict[str, Any]) -> None:
    for field in ("bbox", "segmentation", "category_id"):
        del entry[field]
    entry["caption"] = "a cat"


WRONG: dict[str, tuple[Change | Any, str]] = {
    "a list of results": ([{"image_id": 1}], "a list, as results are"),
    "a number": (5, "no COCO annotations"),
    "no images": (lambda truth: truth.pop("images"), "there is no images"),
    "no annotations": (lambda truth: truth.pop("annotations"), "there is no annotations"),
    "nothing annotated": (lambda truth: truth.update(annotations=[]), "nothing is annotated"),
    "images by name": (lambda truth: truth.update(images={"a": 1}), "not a list of images"),
    "categories as names": (lambda t: t.update(categories=["cat"]), 'categories[0] is "cat"'),
    "no file name": (put("images", "file_name", None), "images[1]: file_name is missing"),
    "an absent image": (put("images", "file_name", "3.png"), "1 of 2 images are not in"),
    "a name with NUL": (put("images", "file_name", "a\0.png"), "are not in"),
    "a long name": (put("images", "file_name", "a" * 5000), "are not in"),
    "another size": (put("images", "height", 41), "2.png is 60 x 40 pixels"),
    "one id for two images": (put("images", "id", 1), "id 1 is that of '1.png' and of '2.png'"),
    "an id that is true": (put("images", "id", True), "images[1]: id is true"),
    "one id for two names": (put("categories", "id", 1), "id 1 is 'cat' and 'hot dog'"),
    "a name that is a number": (put("categories", "name", 5), "name is 5, not text"),
    "no image id": (put("annotations", "image_id", None), "annotations[1]: image_id is missing"),
    "no category id": (put("annotations", "category_id", None), "category_id is missing"),
    "an unknown category": (put("annotations", "category_id", 9), "category_id is 9"),
    "a short bbox": (put("annotations", "bbox", [1, 2, 3]), "not x, y, width, height"),
    "a negative bbox": (put("annotations", "bbox", [1, 2, -3, 4]), "negative"),
    "NaN in a bbox": (put("annotations", "bbox", [1, 2, 3, float("nan")]), "no number of pixels"),
    "a coordinate far away": (
        put("annotations", "segmentation", [[1e30, 5, 40, 5, 40, 35]]),
        "annotations[1]: segmentation: 1e+30 is no number of pixels",
    ),
    "a box far away": (put("annotations", "bbox", [1, 2, 3, 1e12]), "is no number of pixels"),
    "run lengths in a list": (
        put("annotations", "segmentation", [{"size": [40, 60], "counts": [2400]}]),
        "a polygon of 1 numbers",
    ),
    "JSON in text": (put("annotations", "segmentation", "[[1, 2, 3, 4, 5, 6]]"), "not polygons or"),
    "a box with names": (put("annotations", "bbox", {"x": 1, "y": 2}), "not x, y, width, height"),
    "an id of 80 bits": (put("images", "id", 1 << 80), "images[1]: id is"),
    "names by id": (lambda truth: truth.update(categories={"1": "cat"}), "not a list of categ"),
    "half a point": (put("annotations", "segmentation", [[1, 2, 3, 4, 5, 6, 7]]), "7 numbers"),
    "words as a polygon": (put("annotations", "segmentation", [["a"] * 6]), "no number"),
    "a text as masks": (put("annotations", "segmentation", "mask.png"), "not polygons or run"),
    "run lengths of another size": (
        put("annotations", "segmentation", {"size": [60, 40], "counts": [2400]}),
        "segmentation.size is [60, 40]",
    ),
    "run lengths that are short": (
        put("annotations", "segmentation", {"size": [40, 60], "counts": [5, 5]}),
        "sum to height * width",
    ),
    "run lengths of noise": (
        put("annotations", "segmentation", {"size": [40, 60], "counts": "\x00~~"}),
        "segmentation.counts",
    ),
    "x1, y1, x2, y2": (
        put("annotations", "bbox", [10, 5, 40, 35]),
        "annotations[1]: bbox is [10, 5, 40, 35], which is x1, y1, x2, y2 by its mask",
    ),
    "the centre, width, height": (
        put("annotations", "bbox", [25, 20, 30, 30]),
        "annotations[1]: bbox is [25, 20, 30, 30], which is the centre, width, height by its mask",
    ),
    "shares of the image": (each("annotations", shares), "pixels, not shares of the image"),
    "two folders and one file": (
        lambda truth: [
            image.update(file_name=f"{folder}/1.png")
            for folder, image in zip("ab", truth["images"], strict=True)
        ],
        "'a/1.png' and 'b/1.png' are both found as",
    ),
    "captions": (each("annotations", caption), "category_id is missing"),
    "true for a coordinate": (put("annotations", "bbox", [True, 1, 2, 3]), "true is no number"),
    "sides that are swapped": (put("images", "height", 60), "2.png is 60 x 40 pixels"),
    "polygons of points with names": (
        put("annotations", "segmentation", [[{"x": 1, "y": 2}] * 4]),
        "is no number",
    ),
    "iscrowd 2": (put("annotations", "iscrowd", 2), "iscrowd is 2"),
}


@pytest.mark.parametrize("name", WRONG)
@pytest.mark.parametrize("command", ["evaluate", "convert", "export"])
def test_what_has_no_meaning_is_one_line_before_anything_is_loaded(
    name: str, command: str, truth: dict[str, Any], tmp_path: Path
) -> None:
    change, said = WRONG[name]
    if callable(change):
        change(truth)
    path = write(tmp_path, truth if callable(change) else change)
    what = {
        "evaluate": ["--url", "http://127.0.0.1:9", "--out", str(tmp_path / "out")],
        "convert": ["absent", str(tmp_path / "out")],
        "export": [
            *("absent", str(tmp_path / "out"), "--int8"),
            *("--calibrate", str(tmp_path), "--format", "onnx"),
        ],
    }[command]
    asked = [command, *what, "--coco", str(path), "--images", str(tmp_path)]
    done = CliRunner().invoke(program(Plugins()), asked)
    assert isinstance(done.exception, InvalidSetting)
    assert said in done.exception.message
    assert "\n" not in done.exception.message


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe{\0", b"[" * 100_000, b"\x89PNG"])
def test_what_is_no_json_is_said(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "truth.json").write_bytes(content)
    for path in (tmp_path / "truth.json", tmp_path / "absent.json", tmp_path):
        with pytest.raises(InvalidSetting, match="no COCO annotations"):
            coco_set(path, tmp_path)
    with pytest.raises(InvalidSetting, match="no such folder of images"):
        coco_set(path, tmp_path / "absent")


def test_classes_that_one_side_lacks_are_named() -> None:
    found = matched({1: "cat", 2: "dog"}, {5: "dog", 6: "emu"})
    assert found.ids == {2: 5}
    said = "\n".join(found.notes)
    assert "the annotations do not have 'cat': detections are left out" in said
    assert "the model does not have 'emu': the AP is 0 where it is annotated" in said


@pytest.mark.parametrize(
    ("model", "annotated", "ids"),
    [
        ({1: "Traffic Light"}, {7: "traffic_light"}, {1: 7}),
        ({1: "cat", 2: "Cat"}, {7: "cat"}, {1: 7}),
        ({1: "cat", 2: "Cat"}, {7: "Cat", 8: "cat"}, {1: 8, 2: 7}),
        ({1: "class_1", 2: "class_2"}, {1: "cat", 2: "dog"}, {1: 1, 2: 2}),
        ({1: "cat"}, {1: None}, {1: 1}),
        ({1: "class_1", 2: "class_2"}, {1: "cat", 2: "dog", 3: "emu"}, {1: 1, 2: 2}),
        ({1: "Straße", 2: "cafe\u0301"}, {7: "STRASSE", 8: "caf\u00e9"}, {1: 7, 2: 8}),
        ({1: "hot dog", 2: "hotdog"}, {1: "hotdog", 2: "hot dog"}, {1: 2, 2: 1}),
        ({1: "cat", 2: "cat"}, {5: "cat"}, {1: 5, 2: 5}),
        ({1: "---", 2: "cat"}, {1: "   ", 2: "cat"}, {2: 2}),
    ],
)
def test_classes_are_matched(
    model: dict[int, str], annotated: dict[int, str | None], ids: dict[int, int]
) -> None:
    assert matched(model, annotated).ids == ids


@pytest.mark.parametrize(
    ("model", "annotated", "said"),
    [
        ({1: "cat"}, {1: "dog"}, "no class in common"),
        ({1: "class_1", 2: "class_2"}, {0: "cat", 1: "dog"}, "begin with 0"),
        ({1: "class_1", 2: "class_2"}, {1_000_001: "cat"}, "no class in common"),
        ({1: "CAT"}, {1: "Cat", 2: "cat"}, "spelt too much alike"),
        ({1: "CAT", 2: "cAt"}, {1: "cat"}, "spelt too much alike"),
    ],
)
def test_classes_that_cannot_be_matched_are_refused(
    model: dict[int, str], annotated: dict[int, str | None], said: str
) -> None:
    with pytest.raises(InvalidSetting, match=said):
        matched(model, annotated)


def test_classes_without_a_name_are_not_matched_with_ids_that_are_text(
    truth: dict[str, Any], tmp_path: Path
) -> None:
    by_text(truth)
    read = coco_set(write(tmp_path, truth), tmp_path)
    with pytest.raises(InvalidSetting, match="no class in common"):
        matched({1: "class_1", 2: "class_2"}, read.categories)


@pytest.fixture(scope="module")
def demo() -> Iterator[str]:
    with served(DEMO / "model", "tensorpack", {}) as url:
        yield url


BOXES_ONLY = ("boxes_only", "boxes_only_empty_seg")
"""Cases without masks."""
AP = {"no_bbox": 0.8462, "subset_of_classes": 0.8356, "subset_of_classes_ids_from_101": 0.8356}
"""AP of boxes; of the others it is the control's. Boxes from outlines are a pixel smaller."""


@pytest.mark.full
@pytest.mark.parametrize("path", sorted(CASES.glob("*.json")), ids=lambda path: path.stem)
def test_the_demo_models_numbers_are_right(path: Path, demo: str, tmp_path: Path) -> None:
    command = ["evaluate", "--url", demo, "--coco", str(path), "--images", str(IMAGES)]
    done = CliRunner().invoke(
        program(Plugins()), [*command, "--out", str(tmp_path)], catch_exceptions=False
    )
    assert done.exit_code == 0
    figures = json.loads((tmp_path / "figures.json").read_text())
    box_ap = figures["bbox"]["numbers"]["AP"]
    assert box_ap == pytest.approx(AP.get(path.stem, 0.8822), abs=0.0005)
    assert ("segm" not in figures) == (path.stem in BOXES_ONLY)
    if "subset" in path.stem:
        assert figures["bbox"]["per_category_AP"]["triangle"] == pytest.approx(0.7713, abs=0.0005)
        assert "detections are left out" in done.output
    elif "segm" in figures:
        assert figures["segm"]["numbers"]["AP"] == pytest.approx(0.7879, abs=0.0005)


@pytest.mark.full
def test_no_image_is_sent_if_the_server_tells_other_classes(
    truth: dict[str, Any], demo: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[object] = []
    monkeypatch.setattr(Client, "predict", lambda _, image, **__: sent.append(image))
    command = ["evaluate", "--url", demo, "--coco", str(write(tmp_path, truth))]
    done = CliRunner().invoke(
        program(Plugins()), [*command, "--images", str(tmp_path), "--out", str(tmp_path / "out")]
    )
    assert isinstance(done.exception, InvalidSetting)
    assert "no class in common: 'circle', 'square'" in done.exception.message
    assert not sent

"""`evaluate`, `compare`, `predict` against a server: the real service over a model of colours."""

import json
import subprocess
import sys
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import boto3
import numpy as np
import PIL.Image
import pytest
from typer.testing import CliRunner, Result

from maskrcnn_client import Client, Prediction, ServerFailed, ServerUnavailable
from maskrcnn_handlers.cli.main import program
from maskrcnn_predict import run as bulk
from maskrcnn_predict.concurrency import in_order
from maskrcnn_server.errors import (
    InvalidImage,
    InvalidModel,
    InvalidSetting,
    NoAnswer,
    NotReady,
)
from maskrcnn_server.plugins import Plugins

app = program(Plugins())

COLOURS = ("red", "green", "blue")

# pycocotools 2.0.11 hands numpy an array in a way that numpy 2 deprecates.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


def run(*arguments: str | Path) -> Result:
    """The command, whose errors are raised."""
    return CliRunner().invoke(app, [*map(str, arguments)], catch_exceptions=False)


def block(colour: int, value: int = 255) -> np.ndarray:
    """40 x 60 pixels, black but for a block of one colour: x 10 to 40, y 5 to 35."""
    pixels = np.zeros((40, 60, 3), np.uint8)
    pixels[5:35, 10:40, colour] = value
    return pixels


@pytest.fixture
def coco(tmp_path: Path) -> Path:
    """Three pictures of one block each, and, in `truth.json`, where they are."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    images, annotations = [], []
    for i, name in enumerate(COLOURS, start=1):
        PIL.Image.fromarray(block(i - 1)).save(folder / f"{name}.png")
        images.append({"id": i, "file_name": f"{name}.png", "height": 40, "width": 60})
        outline = [10, 5, 40, 5, 40, 35, 10, 35]
        annotation = {"id": i, "image_id": i, "category_id": i, "bbox": [10, 5, 30, 30]}
        annotations.append(annotation | {"area": 900, "iscrowd": 0, "segmentation": [outline]})
    write_truth(tmp_path, images, annotations, dict(enumerate(COLOURS, start=1)))
    return tmp_path


def write_truth(
    folder: Path, images: list[Any], annotations: list[Any], categories: dict[int, str]
) -> None:
    content = {
        "info": {},
        "images": images,
        "annotations": annotations,
        "categories": [{"id": i, "name": name} for i, name in categories.items()],
    }
    (folder / "truth.json").write_text(json.dumps(content))


def evaluate(coco: Path, url: str, *more: str) -> Result:
    where = ("--coco", coco / "truth.json", "--images", coco / "pictures", "--out", coco / "out")
    return run("evaluate", "--url", url, *where, *more)


def figures(coco: Path) -> Any:
    return json.loads((coco / "out/figures.json").read_text())


def test_a_model_that_finds_everything_has_an_ap_of_1(coco: Path, url: str) -> None:
    done = evaluate(coco, url)
    assert done.exit_code == 0
    for kind in ("bbox", "segm"):
        assert figures(coco)[kind]["numbers"]["AP"] == pytest.approx(1)
        assert figures(coco)[kind]["per_category_AP"] == dict.fromkeys(COLOURS, pytest.approx(1))
        assert figures(coco)[kind]["numbers"]["APl"] == -1, "none is large"
    assert "AR100" in done.output
    assert "green" in done.output
    assert len(json.loads((coco / "out/results.json").read_text())) == 3
    assert (coco / "out/precision_recall.svg").read_text().startswith("<?xml")


def test_the_next_run_asks_only_for_what_is_missing(
    coco: Path, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Interrupted after the first answer."""

    def interrupted(ask: Callable[..., Any], items: Any, concurrency: int) -> Any:
        for pair in in_order(ask, items, concurrency):
            yield pair
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(bulk, "in_order", interrupted)
        assert evaluate(coco, url).exit_code != 0
    asked: list[bytes] = []
    predict = Client.predict

    def counted(self: Client, picture: Any, **options: Any) -> Prediction:
        asked.append(picture)
        return predict(self, picture, **options)

    monkeypatch.setattr(Client, "predict", counted)
    assert "1 of 3 are done already" in evaluate(coco, url).output
    assert len(asked) == 2
    assert figures(coco)["bbox"]["numbers"]["AP"] == pytest.approx(1)
    assert "3 of 3" in evaluate(coco, url).output
    assert len(asked) == 2
    with pytest.raises(InvalidSetting, match="--restart"):
        evaluate(coco, url, "--score-threshold", "0.5")
    evaluate(coco, url, "--score-threshold", "0.5", "--restart")
    assert len(asked) == 5


def test_an_image_that_fails_is_counted_and_tried_again(coco: Path, url: str) -> None:
    picture = coco / "pictures/green.png"
    whole = picture.read_bytes()
    picture.write_bytes(b"no image")
    with pytest.raises(InvalidImage, match="1 of 3 images failed"):
        evaluate(coco, url)
    (failure,) = figures(coco)["failed"].values()
    assert failure["code"] == "invalid_image"
    assert figures(coco)["bbox"]["per_category_AP"]["green"] == 0
    picture.write_bytes(whole)
    assert evaluate(coco, url).exit_code == 0
    assert figures(coco)["failed"] == {}
    assert figures(coco)["bbox"]["per_category_AP"]["green"] == pytest.approx(1)


def test_two_images_of_one_file_are_two(coco: Path, url: str) -> None:
    truth = json.loads((coco / "truth.json").read_text())
    truth["images"].append({**truth["images"][0], "id": 4})
    truth["annotations"].append({**truth["annotations"][0], "id": 4, "image_id": 4})
    write_truth(coco, truth["images"], truth["annotations"], dict(enumerate(COLOURS, start=1)))
    evaluate(coco, url)
    assert figures(coco)["bbox"]["numbers"]["AP"] == pytest.approx(1)


def test_categories_are_matched_by_their_names(coco: Path, url: str) -> None:
    truth = json.loads((coco / "truth.json").read_text())
    for annotation in truth["annotations"]:
        annotation["category_id"] += 10
    ids = {11: "red", 12: "green", 13: "blue"}
    write_truth(coco, truth["images"], truth["annotations"], ids)
    done = evaluate(coco, url)
    assert "green: category 2 of the model, 12 of the annotations" in done.output
    assert figures(coco)["segm"]["numbers"]["AP"] == pytest.approx(1)


def test_a_server_that_goes_away_ends_the_run(coco: Path) -> None:
    with pytest.raises(NoAnswer):
        evaluate(coco, "http://127.0.0.1:9")
    assert len((coco / "out/journal.jsonl").read_text().splitlines()) == 1


@pytest.mark.parametrize("name", ["../secret.png", "/etc/passwd", "a/../../b.png"])
def test_annotations_do_not_lead_out_of_the_folder(coco: Path, url: str, name: str) -> None:
    write_truth(coco, [{"id": 1, "file_name": name}], [], {1: "red"})
    with pytest.raises(InvalidSetting, match="leads out"):
        evaluate(coco, url)


def test_only_one_thing_is_evaluated(coco: Path, url: str) -> None:
    with pytest.raises(InvalidSetting, match="name one"):
        evaluate(coco, url, "--endpoint", "shapes")


def test_nothing_found_is_an_ap_of_0(coco: Path, url: str) -> None:
    for path in (coco / "pictures").iterdir():
        PIL.Image.fromarray(np.zeros((40, 60, 3), np.uint8)).save(path)
    assert evaluate(coco, url).exit_code == 0
    assert figures(coco)["bbox"]["numbers"]["AP"] == 0


@pytest.fixture
def drifting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Has every second answer be about a picture that is a little darker, and not green."""
    turn = [0]
    predict = Client.predict

    def drifted(self: Client, picture: Any, **options: Any) -> Prediction:
        turn[0] += 1
        if turn[0] % 2:
            return predict(self, picture, **options)
        pixels = np.asarray(PIL.Image.open(BytesIO(picture))) // 4 * 3
        pixels[..., 1] = 0
        return predict(self, pixels, **options)

    monkeypatch.setattr(Client, "predict", drifted)


def test_a_server_agrees_with_itself(coco: Path, url: str) -> None:
    done = run("compare", url, url, coco / "pictures", "--out", coco / "c", "--fail-below", "1")
    assert done.exit_code == 0
    figures = json.loads((coco / "c/comparison.json").read_text())
    assert (figures["matched"], figures["only A"], figures["only B"]) == (3, 0, 0)
    assert figures["agreement"] == figures["mask IoU, min"] == figures["box IoU, mean"] == 1
    assert figures["score drift, max"] == 0
    assert "data:image" not in (coco / "c/index.html").read_text()


@pytest.mark.usefixtures("drifting")
def test_the_worst_disagreement_comes_first(coco: Path, url: str) -> None:
    hostile = coco / "pictures/<script>alert(1)<&.png"
    (coco / "pictures/green.png").rename(hostile)
    with pytest.raises(InvalidModel, match=r"agree on 0\.6667, less than 0\.9"):
        run(
            *("compare", url, url, coco / "pictures", "--out", coco / "c"),
            *("--fail-below", "0.9", "--worst", "2", "--concurrency", "1"),
        )
    figures = json.loads((coco / "c/comparison.json").read_text())
    assert (figures["matched"], figures["only A"], figures["only B"]) == (2, 1, 0)
    assert figures["score drift, mean"] == pytest.approx(0.2588, abs=0.001)
    assert figures["score drift, signed mean"] == pytest.approx(-0.2588, abs=0.001)
    page = (coco / "c/index.html").read_text()
    assert "<script>" not in page
    worst, _ = page.split("<h2>")[1:]
    assert "&lt;script&gt;alert(1)&lt;&amp;.png</h2>" in worst
    assert "only A: green 1.00" in worst
    assert page.count("data:image/jpeg") == 4
    lines = [json.loads(line) for line in (coco / "c/pictures.jsonl").read_text().splitlines()]
    assert {line["disagreement"] > 0.9 for line in lines if "script" in line["picture"]} == {True}


def test_nothing_to_compare_is_an_error(coco: Path, url: str) -> None:
    (coco / "empty").mkdir()
    with pytest.raises(InvalidImage, match="no image in this folder"):
        run("compare", url, url, coco / "empty", "--out", coco / "c")


def test_a_folder_is_predicted_by_a_server_and_resumed(coco: Path, url: str) -> None:
    (coco / "pictures/cut.png").write_bytes(b"no image")
    joined = coco / "out/all.json"
    command = ("predict", coco / "pictures", "--url", url, "--json", joined)
    with pytest.raises(InvalidImage, match="1 of 4"):
        run(*command)
    found = json.loads(joined.read_text())
    assert [result["image_id"] for result in found] == ["blue.png", "green.png", "red.png"]
    (coco / "pictures/cut.png").unlink()
    PIL.Image.fromarray(block(0) | block(1)).save(coco / "pictures/red.png")
    done = run(*command, "--out", coco / "drawn")
    assert "2 of 3 images were done already" in done.output
    assert f"{coco}/pictures/red.png: 2 instances" in done.output
    assert len(json.loads(joined.read_text())) == 4
    assert [path.name for path in (coco / "drawn").iterdir()] == ["red.png"]


@pytest.mark.parametrize(
    "names",
    [
        ("a/0001.png", "b/0001.png"),
        ("a/x.png", "b/x.png"),
        ("a/1.png", "a/001.png"),
        ("a/1.png", "a/1.bmp", "b/2.png"),
        ("a/0.png", "b/00.png", "b/b/0.png"),
    ],
)
@pytest.mark.parametrize("is_named", [False, True], ids=["folders", "files"])
def test_images_have_ids_of_their_own(
    tmp_path: Path, url: str, names: tuple[str, ...], is_named: bool
) -> None:
    paths = [tmp_path / name for name in names]
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        PIL.Image.fromarray(block(0)).save(path)
    places = paths if is_named else [tmp_path / "a", tmp_path / "b"][: 1 + ("b/" in str(names))]
    done = run("predict", *places, *places, "--url", url, "--json", tmp_path / "all.json")
    ids = [result["image_id"] for result in json.loads((tmp_path / "all.json").read_text())]
    assert len(set(ids)) == len(names)
    assert "their paths are their ids" in done.output


def test_an_id_that_a_later_run_takes_as_well_becomes_a_path(tmp_path: Path, url: str) -> None:
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        PIL.Image.fromarray(block(0)).save(tmp_path / folder / "0001.png")
        run("predict", tmp_path / folder, "--url", url, "--json", tmp_path / "all.json")
    ids = [result["image_id"] for result in json.loads((tmp_path / "all.json").read_text())]
    assert ids == [f"{tmp_path}/a/0001.png", f"{tmp_path}/b/0001.png"]


@pytest.mark.parametrize("name", ["absent.png", "empty.png", "text.png", "a\tb.png"])
def test_no_server_is_asked_about_what_is_no_image(tmp_path: Path, name: str) -> None:
    (tmp_path / "empty.png").write_bytes(b"")
    (tmp_path / "text.png").write_text("no image")
    with pytest.raises(InvalidImage, match="1 of 1 images failed"):
        run("predict", tmp_path / name, "--url", "http://127.0.0.1:9")


def test_classes_that_the_annotations_lack_are_left_out(coco: Path, url: str) -> None:
    truth = json.loads((coco / "truth.json").read_text())
    PIL.Image.fromarray(block(0) | block(1)).save(coco / "pictures/red.png")
    kept = [a for a in truth["annotations"] if a["category_id"] != 2]
    write_truth(coco, truth["images"], kept, {1: "RED", 3: "blue "})
    done = evaluate(coco, url)
    assert "the annotations do not have 'green': detections are left out" in done.output
    assert "'RED' of the annotations is taken for the model's 'red'" in done.output
    assert figures(coco)["bbox"]["numbers"]["AP"] == pytest.approx(1)


def test_an_output_that_cannot_be_written_is_named(coco: Path, url: str) -> None:
    file, images = coco / "truth.json", coco / "pictures"
    for command in (
        ("predict", images, "--url", url, "--json", file / "all.json"),
        ("predict", images, "--url", url, "--out", file),
        ("compare", url, url, images, "--out", file),
        ("evaluate", "--url", url, "--coco", file, "--images", images, "--out", file),
    ):
        with pytest.raises(InvalidSetting, match=r"truth\.json.*: (File exists|Not a directory)"):
            run(*command)


def test_nobody_is_asked_when_everything_is_done(coco: Path, url: str) -> None:
    joined = coco / "all.json"
    run("predict", coco / "pictures", "--url", url, "--json", joined)
    lines = coco / "all.jsonl"
    lines.write_text(lines.read_text().replace(url, "http://127.0.0.1:9"))
    joined.unlink()
    run("predict", coco / "pictures", "--url", "http://127.0.0.1:9", "--json", joined)
    assert len(json.loads(joined.read_text())) == 3


def test_an_endpoint_is_predicted_with(
    coco: Path, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_SAGEMAKER_RUNTIME", url)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    command = ("predict", coco / "pictures", "--endpoint", "shapes", "--region", "us-east-1")
    assert "red.png: 1 instances" in run(*command).output


def test_a_model_is_served_and_evaluated(coco: Path, install: Callable[..., Any]) -> None:
    program = [sys.executable, "-m", "maskrcnn_handlers", "evaluate", "--out", f"{coco}/out"]
    program += ["--coco", f"{coco}/truth.json", "--images", f"{coco}/pictures"]
    program += ["--model", str(coco), "--backend", "fake"]
    done = subprocess.run(program, env=install(), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert figures(coco)["segm"]["numbers"]["AP"] == pytest.approx(1)


def test_lines_are_not_joined_into_themselves(coco: Path, url: str) -> None:
    with pytest.raises(InvalidSetting, match=r"name FILE\.json"):
        run("predict", coco / "pictures", "--url", url, "--json", coco / "all.jsonl")


@pytest.mark.usefixtures("aws")
def test_a_prefix_of_s3_is_predicted(coco: Path, url: str) -> None:
    s3 = boto3.client("s3")
    for name in COLOURS:
        s3.upload_file(str(coco / f"pictures/{name}.png"), "models", f"in/{name}.png")
    done = run("predict", "s3://models/in", "--url", url, "--json", coco / "all.json")
    assert "s3://models/in/blue.png: 1 instances" in done.output
    assert len(json.loads((coco / "all.json").read_text())) == 3


def test_what_the_server_cannot_do_ends_the_run(
    coco: Path, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its own faults are reported of the picture; that it is not ready is no picture's fault."""
    draining = ServerUnavailable("draining", code="not_ready")
    errors = [ServerFailed("crashed", code="backend_failed"), draining, draining]

    def failing(*_: object, **__: object) -> Prediction:
        raise errors.pop(0)

    monkeypatch.setattr(Client, "predict", failing)
    command = ("predict", coco / "pictures", "--url", url, "--json", coco / "all.json")
    with pytest.raises(NotReady):
        run(*command, "--concurrency", "1")
    (line,) = (coco / "all.jsonl").read_text().splitlines()[1:]
    assert json.loads(line)["error"]["code"] == "backend_failed"

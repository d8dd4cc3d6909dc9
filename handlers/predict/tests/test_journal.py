"""What a run keeps, and what the next one makes of it."""

import json
from pathlib import Path

import pytest

from maskrcnn_handlers.formats.coco_results import CocoResult
from maskrcnn_predict.joining import join
from maskrcnn_predict.journal import Journal
from maskrcnn_predict.sources import Source
from maskrcnn_server.errors import InvalidImage, InvalidSetting

ASKED = {"target": "url http://a", "score_threshold": 0.05}


def source(name: str, version: str = "1") -> Source:
    return Source(name, name, version, lambda: b"")


def result(image_id: str, score: float = 0.5) -> CocoResult:
    return {
        "image_id": image_id,
        "category_id": 1,
        "category_name": "red",
        "bbox": [0.0, 0.0, 1.0, 1.0],
        "score": score,
        "area": 1.0,
    }


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "new" / "journal.jsonl"


def test_what_is_done_is_done_in_the_next_run(path: Path) -> None:
    with Journal(path, ASKED) as journal:
        journal.add(source("a"), [result("a")])
        journal.add(source("empty"), [])
        journal.fail(source("b"), InvalidImage("cut off"))
    with Journal(path, ASKED) as journal:
        assert journal.has(source("a"))
        assert journal.has(source("empty"))
        assert not journal.has(source("b")), "what failed is tried again"
        assert not journal.has(source("a", version="2")), "what changed is asked again"
        assert [line.get("error") for line in journal.lines()] == [
            None,
            None,
            {"code": "invalid_image", "message": "cut off"},
        ]


def test_the_last_word_about_an_image_counts(path: Path) -> None:
    with Journal(path, ASKED) as journal:
        journal.add(source("a"), [result("a", 0.25)])
        journal.fail(source("b"), InvalidImage("cut off"))
        journal.add(source("b"), [result("b")])
        journal.add(source("a", version="2"), [result("a", 0.75)])
    with Journal(path, ASKED) as journal:
        assert [(r["image_id"], r["score"]) for r in journal.results()] == [("b", 0.5), ("a", 0.75)]
        assert not journal.has(source("a", version="1"))


@pytest.mark.parametrize("torn", [1, 20, 60])
def test_a_line_that_was_not_finished_is_dropped(path: Path, torn: int) -> None:
    """Whatever ended the process, and wherever."""
    with Journal(path, ASKED) as journal:
        journal.add(source("a"), [result("a")])
        journal.add(source("b"), [result("b")])
    path.write_bytes(path.read_bytes()[:-torn])
    with Journal(path, ASKED) as journal:
        assert journal.has(source("a"))
        assert not journal.has(source("b"))
        journal.add(source("b"), [result("b")])
    with Journal(path, ASKED) as journal:
        assert [r["image_id"] for r in journal.results()] == ["a", "b"]


def test_a_beginning_that_was_not_finished_is_begun_anew(path: Path) -> None:
    path.parent.mkdir()
    path.write_bytes(b'{"ask')
    with Journal(path, ASKED) as journal:
        journal.add(source("a"), [])
    assert json.loads(path.read_text().splitlines()[0]) == {"asked": ASKED}


def test_answers_to_another_question_are_not_mixed_in(path: Path) -> None:
    with Journal(path, ASKED) as journal:
        journal.add(source("a"), [result("a")])
    with pytest.raises(InvalidSetting, match="--restart"):
        Journal(path, ASKED | {"score_threshold": 0.5})
    with Journal(path, ASKED | {"score_threshold": 0.5}, restart=True) as journal:
        assert not journal.has(source("a"))


@pytest.mark.parametrize("restart", [False, True])
@pytest.mark.parametrize(
    "text", ["[1]\n", "holiday photographs", "\xff\n", '{"a": 1}', '["asked"]\n']
)
def test_another_file_is_not_written_over(path: Path, text: str, restart: bool) -> None:
    path.parent.mkdir()
    path.write_text(text, "latin-1")
    with pytest.raises(InvalidSetting, match="not a journal"):
        Journal(path, ASKED, restart=restart)
    assert path.read_text("latin-1") == text


def test_two_runs_do_not_write_at_the_same_time(path: Path) -> None:
    with Journal(path, ASKED), pytest.raises(InvalidSetting, match="another process"):
        Journal(path, ASKED, restart=True)


@pytest.mark.parametrize("count", [0, 1, 3])
def test_joined_results_are_a_list(path: Path, count: int) -> None:
    with Journal(path, ASKED) as journal:
        for i in range(count):
            journal.add(source(f"{i}\udcff\n"), [result("x"), result("y")])
        joined = join(journal.lines, path.with_suffix(".json"))
    assert len(json.loads(path.with_suffix(".json").read_text())) == 2 * count
    assert (joined.images, joined.results) == (count, 2 * count)

"""A journal in S3, whatever happens to the process that writes it."""

from pathlib import Path

import boto3
import pytest

from maskrcnn_predict import remote_journal
from maskrcnn_predict.addresses import Address
from maskrcnn_predict.remote_journal import RemoteJournal
from maskrcnn_predict.sources import Source
from maskrcnn_server.errors import InvalidImage, InvalidSetting

PREFIX = Address("models", "out/all.00000-of-00001")
ASKED = {"target": "model a"}

pytestmark = pytest.mark.usefixtures("aws")


@pytest.fixture(autouse=True)
def _two_lines_each(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote_journal, "MAX_LINES", 2)


def source(name: str) -> Source:
    return Source(name, name, "1", lambda: b"")


def keys() -> list[str]:
    listed = boto3.client("s3").list_objects_v2(Bucket="models", Prefix="out/")
    return [item["Key"].rpartition("/")[2] for item in listed.get("Contents", ())]


def test_what_was_written_is_there_for_the_next_process(tmp_path: Path) -> None:
    lost = RemoteJournal(PREFIX, tmp_path / "a", ASKED)
    for name in "abc":
        lost.add(source(name), [])
    # The process is killed: nothing is closed, and the last line was in no object.
    assert keys() == ["00000000.jsonl", "00000001.jsonl"]
    with RemoteJournal(PREFIX, tmp_path / "b", ASKED) as journal:
        assert [journal.has(source(name)) for name in "abc"] == [True, True, False]
        journal.add(source("c"), [])
        journal.fail(source("d"), InvalidImage("cut off"))
        journal.add(source("e"), [])
    assert [line["picture"] for line in journal.lines()] == ["a", "b", "c", "d", "e"]
    lost._file.close()


def test_an_object_is_written_in_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with RemoteJournal(PREFIX, tmp_path / "a", ASKED) as journal:
        monkeypatch.setattr(remote_journal, "MAX_SECONDS", 0)
        journal.add(source("a"), [])
        assert len(keys()) == 2
    assert len(keys()) == 2, "nothing new is not written"


def test_two_processes_do_not_write_one_journal(tmp_path: Path) -> None:
    with RemoteJournal(PREFIX, tmp_path / "a", ASKED) as one:
        other = RemoteJournal(PREFIX, tmp_path / "b", ASKED)
        one.add(source("a"), [])
        one.send()
        other.add(source("b"), [])
        with pytest.raises(InvalidSetting, match="another process writes to it"):
            other.close()


def test_a_restart_drops_what_is_there(tmp_path: Path) -> None:
    with RemoteJournal(PREFIX, tmp_path / "a", ASKED) as journal:
        for name in "abcd":
            journal.add(source(name), [])
    other = {"target": "model b"}
    with pytest.raises(InvalidSetting, match="--restart"):
        RemoteJournal(PREFIX, tmp_path / "b", other)
    with RemoteJournal(PREFIX, tmp_path / "c", other, restart=True) as journal:
        assert not journal.has(source("a"))
    assert keys() == ["00000000.jsonl"]


@pytest.mark.parametrize("key", ["notes.txt", "00000002.jsonl"])
def test_what_is_no_journal_is_not_written_over(tmp_path: Path, key: str) -> None:
    boto3.client("s3").put_object(Bucket="models", Key=PREFIX.below(key), Body=b"notes")
    with pytest.raises(InvalidSetting, match="not a part of a journal"):
        RemoteJournal(PREFIX, tmp_path / "a", ASKED, restart=True)
    assert keys() == [key]


def test_a_bucket_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(Exception, match="absent"):
        RemoteJournal(Address("absent", "x"), tmp_path / "a", ASKED)

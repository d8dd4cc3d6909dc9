"""Short campaigns: without a fault, and with one of each sort, which each kind has to notice."""

import json
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from maskrcnn_study.benchmark.client import Answer
from maskrcnn_study.campaign.checked import Known, judge
from maskrcnn_study.campaign.connections import CONNECTIONS
from maskrcnn_study.campaign.ends import ENDS, FEW_FILES, UNREAD_LOG
from maskrcnn_study.campaign.pinging import Pings
from maskrcnn_study.campaign.requests import HOSTILE
from maskrcnn_study.campaign.tally import Outcome, Tally, total
from maskrcnn_study.campaign.workers import ILL, KILLED

REPLIES = ("endless headers", "malformed", "slow headers", "slow body", "pipelined", "in pieces")
"""Kinds of connections that get a reply."""


def run(folder: Path, minutes: float, *options: str) -> tuple[int, dict[str, Any], list[str]]:
    """The exit code, the rows by kind, and the problems."""
    out = folder / "run.json"
    command = [sys.executable, "-m", "maskrcnn_handlers", "faults", "--minutes", str(minutes)]
    done = subprocess.run(
        [*command, "--json", str(out), *options], capture_output=True, text=True, check=False
    )
    assert out.exists(), done.stdout + done.stderr
    result = json.loads(out.read_text())
    rows = {row["kind"]: row for row in result["rows"]}
    return done.returncode, rows, result["problems"]


def only(*kinds: str) -> list[str]:
    return [word for kind in kinds for word in ("--only", kind)]


@pytest.mark.full
def test_a_short_campaign_finds_nothing(tmp_path: Path) -> None:
    """Pings are left out: how long they take is the machine's on a busy one. So is memory: in so
    short a time it grows to what the largest images take, and is not flat yet."""
    _, rows, problems = run(tmp_path, 0.35, "--seed", "1")
    of_time = ("a ping of", "memory grew")
    assert [each for each in problems if not any(said in each for said in of_time)] == []
    assert {*HOSTILE, *CONNECTIONS, *ILL.values(), FEW_FILES, UNREAD_LOG} <= set(rows)
    assert rows["checked answers"]["answered"] > 50
    assert all(row["tried"] for row in rows.values())


@pytest.mark.parametrize(
    ("fault", "count"),
    [
        pytest.param("lose", "lost", marks=pytest.mark.full),
        pytest.param("fail", "failed", marks=pytest.mark.exhaustive),
    ],
)
def test_each_kind_notices_lost_requests_and_failures(
    tmp_path: Path, fault: str, count: str
) -> None:
    kinds = [*HOSTILE, *REPLIES]
    code, rows, _ = run(tmp_path, 0.3, "--sabotage", fault, *only(*kinds))
    assert code == 1
    blind = [kind for kind in kinds if not rows[kind][count]]
    assert blind == []


@pytest.mark.exhaustive
@pytest.mark.parametrize("kind", [KILLED, *ILL.values(), ENDS, FEW_FILES, UNREAD_LOG])
def test_each_end_and_fault_of_a_process_notices_lost_requests(tmp_path: Path, kind: str) -> None:
    code, rows, _ = run(tmp_path, 0.3, "--sabotage", "lose", *only(kind))
    assert code == 1
    assert next(row for name, row in rows.items() if name.endswith(kind))["lost"] > 0


@pytest.mark.exhaustive
def test_wrong_answers_are_noticed(tmp_path: Path) -> None:
    code, rows, _ = run(tmp_path, 0.05, "--sabotage", "wrong", *only("vanishing"))
    assert code == 1
    assert rows["checked answers"]["wrong"] > 0


@pytest.mark.exhaustive
def test_a_blocked_event_loop_is_noticed(tmp_path: Path) -> None:
    _, _, problems = run(tmp_path, 0.1, "--sabotage", "block", *only("in pieces"))
    assert any("in pieces: a ping of" in each for each in problems)


@pytest.mark.exhaustive
def test_leaking_memory_is_noticed(tmp_path: Path) -> None:
    _, _, problems = run(tmp_path, 0.1, "--sabotage", "leak", *only("in pieces"))
    assert any("checked answers: memory grew" in each for each in problems)


@pytest.mark.exhaustive
def test_a_log_that_blocks_is_noticed(tmp_path: Path) -> None:
    _, _, problems = run(tmp_path, 0.05, "--sabotage", "chatter", *only(UNREAD_LOG))
    assert any(UNREAD_LOG in each for each in problems)


@pytest.mark.parametrize("kind", HOSTILE)
def test_the_same_seed_makes_the_same_requests(kind: str) -> None:
    first, second, other = (random.Random(seed) for seed in (1, 1, 2))  # noqa: S311
    made = [HOSTILE[kind](first) for _ in range(30)]
    assert made == [HOSTILE[kind](second) for _ in range(30)]
    assert made != [HOSTILE[kind](other) for _ in range(30)]
    assert len(set(made)) > 15


ANNOTATION = {"bbox": [1, 2, 30, 40], "category_id": 1, "score": 0.9}


@pytest.mark.parametrize(
    ("changes", "wrong"),
    [
        ({"bbox": [2, 2, 30, 41]}, 0),
        ({"score": 0.91}, 0),
        ({"bbox": [1, 2, 35, 40]}, 1),
        ({"category_id": 2}, 1),
        ({"score": 0.5}, 1),
    ],
    ids=str,
)
def test_answers_are_compared_within_rounding(changes: dict[str, object], wrong: int) -> None:
    tally = Tally("a")
    body = json.dumps({"annotations": [ANNOTATION | changes]}).encode()
    judge(Known(b"", [ANNOTATION]), Answer(200, body), tally)
    assert (tally.tried, tally.answered, tally.wrong) == (1, 1 - wrong, wrong)


@pytest.mark.parametrize(("code", "wrong"), [("queue_full", 0), ("invalid_image", 1)])
def test_good_requests_may_be_refused_by_busy_servers_only(code: str, wrong: int) -> None:
    tally = Tally("a")
    judge(Known(b"", []), Answer(429, json.dumps({"error": {"code": code}}).encode()), tally)
    assert (tally.tried, tally.refused.total(), tally.wrong) == (1, 1 - wrong, wrong)


def test_refusals_that_are_not_the_json_of_an_error_are_wrong() -> None:
    tally = Tally("a")
    tally.add(Answer(400, b"<html>"))
    tally.add(Answer(400, b'{"error": {"code": "invalid_request"}}'))
    assert (tally.tried, tally.wrong, tally.refused.total()) == (2, 1, 1)


@pytest.mark.parametrize(
    ("waited_ms", "found"), [(0, True), (600, False)], ids=["server", "machine"]
)
def test_pings_that_the_machine_delays_are_not_the_servers(waited_ms: float, found: bool) -> None:
    pings = Pings()
    pings.lines = [(0, 5.0, 900.0, 0.0), (0, 10.0, 900.0, waited_ms), (1, 11.0, 20.0, 0.0)]
    tally = Tally("a", tried=1)
    tally.ping_ms, tally.own_ping_ms = pings.longest(since=7)
    assert tally.ping_ms == 900
    assert bool(tally.problems()) == found


def test_sums_are_those_of_all_kinds() -> None:
    one, other = Tally("a"), Tally("b")
    one.add_outcome(Outcome.LOST, "a")
    other.add_outcome("internal_error", "b")
    other.add_outcome(Outcome.CLOSED, "b")
    whole = total([one, other])
    assert (whole.tried, whole.lost, whole.failed, whole.refused.total()) == (3, 1, 1, 1)

"""A quick run of `faults`, whose whole result is in docs/several_models.md."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.full


def test_no_request_is_lost_while_processes_are_killed_and_hang(tmp_path: Path) -> None:
    out = tmp_path / "run.json"
    command = [sys.executable, "-m", "maskrcnn_handlers", "faults", "--quick"]
    done = subprocess.run(
        [*command, "--kills", "2", "--clients", "2", "--json", str(out)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    run = json.loads(out.read_text())
    answers = {(row["phase"], row["model"]): row["answers"] for row in run["rows"]}
    killed = answers["2 kills", "victim"]
    assert killed["200"] > 0
    assert set(killed) <= {"200", "backend_crashed"}
    assert answers["each request makes it hang", "hangs"]["backend_timed_out"] >= 1
    assert not any(row.get("none") for row in answers.values())

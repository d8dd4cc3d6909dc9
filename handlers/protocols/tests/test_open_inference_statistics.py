"""What the statistics of inferences count."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from maskrcnn_handlers.answer.reply import Reply
from maskrcnn_handlers.service import SERVER_TIMING
from maskrcnn_protocols.open_inference.statistics import STAGES, Statistics

if TYPE_CHECKING:
    import pytest

TIMING = (
    "wait;dur=1, decode;dur=2, preprocess;dur=4, network;dur=8, model;dur=16, paste;dur=32, "
    "encode;dur=64, total;dur=130"
)


def test_every_stage_of_a_request_is_counted_once() -> None:
    statistics = Statistics()
    reply = Reply(200, b"", "application/json", {SERVER_TIMING: TIMING})
    statistics.add("m", reply, images=3)
    told: Any = statistics.of("m")
    sums = {name: one["ns"] / 1e6 for name, one in told["inference_stats"].items()}
    assert sums == {
        "success": 130,
        "fail": 0,
        "queue": 1,
        "compute_input": 6,
        "compute_infer": 24,
        "compute_output": 96,
    }
    assert (told["inference_count"], told["execution_count"]) == (3, 1)


def test_the_stages_are_those_of_the_documentation(pytestconfig: pytest.Config) -> None:
    page = (pytestconfig.rootpath / "docs/observability.md").read_text()
    table = page.partition("| stage | what happens |")[2].partition("\n\n")[0]
    documented = re.findall(r"^\| (\w+) \|", table, re.MULTILINE)
    assert documented
    assert sorted(documented) == sorted(part for parts in STAGES.values() for part in parts)

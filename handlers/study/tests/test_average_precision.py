"""The demo model's twelve numbers, by `evaluate` from what a server answers over HTTP."""

import json
from pathlib import Path
from typing import Any

import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from typer.testing import CliRunner

from maskrcnn_handlers.cli.main import program
from maskrcnn_network.instructions import lacks_instructions
from maskrcnn_predict.child import served
from maskrcnn_server.plugins import Plugins
from maskrcnn_tensorpack.plugin import DEMO

pytestmark = pytest.mark.full

app = program(Plugins())

DATA = Path(__file__).parents[3] / "tests/demo/val200"
TOLERANCE = {"float32": 0.0005, "bfloat16": 0.01}
"""The original's numbers have four decimals; with AVX-512, float32 is within 0.00001 of them."""
BFLOAT16 = pytest.param(
    "bfloat16",
    marks=pytest.mark.skipif(
        lacks_instructions("bfloat16") is not None,
        reason="this CPU has no bfloat16",
    ),
)


@pytest.fixture(scope="module", params=["float32", BFLOAT16])
def precision(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def evaluation(precision: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `evaluate` wrote of a running server."""
    out = tmp_path_factory.mktemp("evaluation")
    with served(DEMO / "model", "tensorpack", {"MASKRCNN_PRECISION": precision}) as url:
        command = ["evaluate", "--url", url, "--coco", str(DATA / "instances.json")]
        command += ["--images", str(DATA / "images"), "--out", str(out)]
        done = CliRunner().invoke(app, command, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    # `pytest -s` shows what it costs.
    print(f"{precision}:\n{done.output}")  # noqa: T201
    return out


@pytest.mark.parametrize("kind", ["bbox", "segm"])
def test_the_twelve_numbers_are_the_originals(kind: str, precision: str, evaluation: Path) -> None:
    original = json.loads((DATA / "fp16-accurate-ap.json").read_text())[kind]
    figures = json.loads((evaluation / "figures.json").read_text())[kind]
    per_class = original.pop("per_class_AP")
    assert figures["numbers"] == pytest.approx(original, abs=TOLERANCE[precision])
    assert figures["per_category_AP"] == pytest.approx(per_class, abs=2 * TOLERANCE[precision])


@pytest.mark.parametrize("kind", ["bbox", "segm"])
def test_the_twelve_numbers_are_pycocotools(kind: str, evaluation: Path) -> None:
    figures: dict[str, Any] = json.loads((evaluation / "figures.json").read_text())[kind]
    truth = COCO(str(DATA / "instances.json"))
    oracle = COCOeval(truth, truth.loadRes(str(evaluation / "results.json")), kind)
    oracle.evaluate()
    oracle.accumulate()
    oracle.summarize()
    assert [*figures["numbers"].values()] == oracle.stats.tolist()

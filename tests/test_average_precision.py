"""The demo model's average precision, from what the server answers over HTTP."""

import json
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from maskrcnn_handlers.child import served
from maskrcnn_tensorflow.precision import CPU_FLAGS, CPUINFO
from maskrcnn_tensorpack.plugin import DEMO

DATA = Path(__file__).parent / "demo/val200"
TOLERANCE = {"float32": 0.002, "bfloat16": 0.01}
BFLOAT16 = pytest.param(
    "bfloat16",
    marks=pytest.mark.skipif(
        not CPUINFO.is_file() or CPU_FLAGS["bfloat16"] not in CPUINFO.read_text(),
        reason="this CPU has no bfloat16",
    ),
)


@pytest.fixture(scope="module", params=["float32", BFLOAT16])
def precision(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def results(precision: str) -> list[Any]:
    """Every picture's answer in COCO's format, at the threshold the original was measured at."""
    pictures = json.loads((DATA / "instances.json").read_text())["images"]
    answers = []
    with served(DEMO / "model", "tensorpack", {"MASKRCNN_PRECISION": precision}) as url:
        for picture in pictures:
            attributes = f"img_id={picture['id']}; format=coco; score_threshold=0.05"
            request = urllib.request.Request(
                f"{url}/invocations",
                (DATA / "images" / picture["file_name"]).read_bytes(),
                {
                    "Content-Type": "image/jpeg",
                    "X-Amzn-SageMaker-Custom-Attributes": attributes,
                },
            )
            with urllib.request.urlopen(request) as reply:
                answers += json.load(reply)
    return answers


@pytest.mark.parametrize("kind", ["bbox", "segm"])
def test_average_precision_is_the_originals(kind: str, precision: str, results: list[Any]) -> None:
    original = json.loads((DATA / "fp16-accurate-ap.json").read_text())[kind]
    truth = COCO(str(DATA / "instances.json"))
    evaluation = COCOeval(truth, truth.loadRes(results), kind)
    evaluation.evaluate()
    evaluation.accumulate()
    print(f"{kind}, {precision}:")  # noqa: T201 (`pytest -s` shows what it costs)
    evaluation.summarize()
    for index, name in enumerate(["AP", "AP50", "AP75", "APs", "APm", "APl"]):
        assert evaluation.stats[index] == pytest.approx(original[name], abs=TOLERANCE[precision]), (
            name
        )

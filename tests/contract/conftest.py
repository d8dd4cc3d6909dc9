"""The front ends that the contract is held against, and the table of how they did.

`CONTRACT_URL=http://host:port pytest tests/contract` judges a server that runs already, such as a
container, as `CONTRACT_NAME` (default: url). `CONTRACT_RESULTS=FILE` adds the outcomes to a file;
`build_tools/contract_table.py` makes the table of docs/front_ends.md of several such files.
"""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from maskrcnn_predict.child import served

GOLDEN = Path(__file__).parents[1] / "demo/golden"
DEMO = Path(__file__).parents[2] / "backends/tensorpack/maskrcnn_tensorpack/demo/model"
URL = os.environ.get("CONTRACT_URL")
FRONT_END = os.environ.get("CONTRACT_NAME", "url") if URL else "native"

NO_ROUTE = "its routes are fixed, and a handler cannot add one"
ONE_MODEL = "it loads models from its own archives, by its own requests"
SEVERAL_MODELS = (
    "test_ping_is_200_without_a_model",
    "test_a_model_is_loaded_listed_invoked_and_unloaded",
    "test_a_name_that_is_taken_is_409",
    "test_an_unknown_model_is_404",
    "test_a_path_that_is_not_a_model_is_refused",
    "test_invocations_reach_the_only_model",
)
TORCHSERVE = dict.fromkeys(SEVERAL_MODELS, ONE_MODEL)
IMPOSSIBLE: dict[str, dict[str, str]] = {
    "torchserve": TORCHSERVE,
    "torchserve-alone": TORCHSERVE
    | {
        "test_an_unknown_route_is_404": "its own errors have another form: "
        '`{"code": 404, "type": ..., "message": ...}`',
        "test_a_form_gets_the_same_reply": "it parses forms itself, and drops their options",
        "test_invocations_accept_only_post": "it accepts any method, and runs the handler",
        "test_batch_transform_is_told_how_to_send": NO_ROUTE,
        "test_boto3_is_a_client": NO_ROUTE,
        "test_boto3_sees_a_mistake_as_the_services_model_error": NO_ROUTE,
    },
}
"""By front end and test: what it cannot do, and why. Each is tried, and has to fail."""

outcomes: dict[str, str] = {}


@pytest.fixture(scope="session")
def url() -> Iterator[str]:
    """The address of a server with the bundled demo model."""
    if URL:
        yield URL.rstrip("/")
    else:
        with served(DEMO, "tensorpack") as address:
            yield address


@pytest.fixture(scope="session")
def png() -> bytes:
    return (GOLDEN / "shapes-9500003.png").read_bytes()


@pytest.fixture(scope="session")
def expected() -> dict[str, Any]:
    """What the original code found at a score of 0.5 or more, best first."""
    golden = np.load(GOLDEN / "shapes-9500003.npz")
    kept = np.argsort(-golden["scores"], kind="stable")
    kept = kept[golden["scores"][kept] >= 0.5]
    masks = np.unpackbits(golden["masks_accurate"][kept], axis=2)
    return {
        "boxes": golden["boxes"][kept],
        "scores": golden["scores"][kept],
        "class_ids": golden["class_ids"][kept],
        "areas": masks.sum(axis=(1, 2)),
    }


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    reasons = IMPOSSIBLE.get(FRONT_END, {})
    for item in items:
        name = getattr(item, "originalname", item.name)
        if item.path.parent == Path(__file__).parent and name in reasons:
            item.add_marker(pytest.mark.xfail(reason=reasons[name], strict=True))


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    if "tests/contract/" not in report.nodeid or (report.when != "call" and report.passed):
        return
    name = report.nodeid.partition("::")[2]
    reason = getattr(report, "wasxfail", None)
    outcomes[name] = f"no: {reason}" if reason is not None else report.outcome


def pytest_sessionfinish() -> None:
    target = os.environ.get("CONTRACT_RESULTS")
    if target and outcomes:
        kept = json.loads(Path(target).read_text()) if Path(target).exists() else {}
        content = {"front_end": FRONT_END, "outcomes": kept.get("outcomes", {}) | outcomes}
        Path(target).write_text(json.dumps(content, indent=1))

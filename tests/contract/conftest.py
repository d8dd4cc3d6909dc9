"""The front ends that the contract is held against, and the table of how they did.

`CONTRACT_URL=http://host:port pytest tests/contract` judges a server that runs already, such as a
container, as `CONTRACT_NAME` (default: url). `CONTRACT_RESULTS=FILE` keeps the outcomes; the script
`build_tools/contract_table` makes the table of docs/front_ends.md of several such files.
"""

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from maskrcnn_handlers.child import served

DEMO = Path(__file__).parents[2] / "backends/tensorpack/maskrcnn_tensorpack/demo/model"
URL = os.environ.get("CONTRACT_URL")
FRONT_END = os.environ.get("CONTRACT_NAME", "url") if URL else "native"

IMPOSSIBLE: dict[str, dict[str, str]] = {}
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
        content = {"front_end": FRONT_END, "outcomes": outcomes}
        Path(target).write_text(json.dumps(content, indent=1))

"""The notebooks of SageMaker's Python SDKs; moto plays SageMaker, and this server its runtime.

Versions 2 and 3 exclude each other, so each has a virtual environment of its own, which is kept.
"""

import json
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from real_clients import client_environment, own_variables

from maskrcnn_predict.child import served

pytestmark = pytest.mark.full

ROOT = Path(__file__).parents[3]
DEMO = ROOT / "backends/tensorpack/maskrcnn_tensorpack/demo/model"
IMPATIENT = """
import time
sleep = time.sleep
time.sleep = lambda seconds: sleep(min(seconds, 0.2))
"""
"""Code that makes version 2 look at an endpoint more often than every 30 s."""
PRINTED = (
    "triangle     0.999  box [93, 1, 69, 58]",
    "4 of 6 have a score of 0.9 or more",
    "6 instances in 1 parts",
    "6 instances in s3://models/async-output/",
)
"""Texts that either notebook prints; version 2 of the SDK puts its own marks between them."""
NO_TELEMETRY = """
SchemaVersion: "1.0"
SageMaker: {PythonSDK: {Modules: {TelemetryOptOut: true}}}
"""


def notebook(version: int) -> Path:
    return ROOT / f"examples/sagemaker_sdk_{version}.ipynb"


@pytest.fixture
def _only_what_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes moto leave out of its descriptions what was not given, as AWS does: version 3 checks
    them."""
    from moto.core.responses import ActionResult
    from moto.sagemaker.responses import SageMakerResponse

    def filtered(describe: Callable[[Any], Any]) -> Callable[[Any], Any]:
        def call(response: Any) -> Any:
            found = describe(response).result
            return ActionResult({name: value for name, value in found.items() if value != {}})

        return call

    for thing in ("model", "endpoint_config", "endpoint"):
        name = f"describe_{thing}"
        monkeypatch.setattr(SageMakerResponse, name, filtered(getattr(SageMakerResponse, name)))


@pytest.fixture
def s3(tmp_path: Path) -> Path:
    """A folder that plays S3, with an empty bucket."""
    (tmp_path / "s3/models").mkdir(parents=True)
    return tmp_path / "s3"


@pytest.fixture
def url(s3: Path) -> Iterator[str]:
    with served(DEMO, "tensorpack", {"MASKRCNN_LOCAL_S3": str(s3)}) as address:
        yield address


@pytest.mark.usefixtures("_only_what_is_set")
@pytest.mark.parametrize("version", [2, 3])
def test_a_notebook_deploys_asks_and_removes(
    version: int, url: str, s3: Path, aws: str, tmp_path: Path
) -> None:
    cells = json.loads(notebook(version).read_text())["cells"]
    code = "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")
    defaults = tmp_path / "config.yaml"
    defaults.write_text(NO_TELEMETRY)
    environ = own_variables() | {
        "AWS_ENDPOINT_URL": aws,
        "AWS_ENDPOINT_URL_SAGEMAKER_RUNTIME": url,
        "AWS_ENDPOINT_URL_S3": f"{url}/s3",
        "SAGEMAKER_USER_CONFIG_OVERRIDE": str(defaults),
    }
    done = subprocess.run(
        [client_environment(f"sagemaker_{version}") / "bin/python", "-c", IMPATIENT + code],
        env=environ,
        cwd=notebook(version).parent,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    assert [text for text in PRINTED if text not in done.stdout] == []
    results = [json.loads(path.read_text()) for path in s3.glob("models/async-output/*.out")]
    assert [len(result["annotations"]) for result in results] == [6]


@pytest.mark.parametrize("version", [2, 3])
def test_notebooks_are_kept_without_outputs(version: int) -> None:
    cells = json.loads(notebook(version).read_text())["cells"]
    code = [cell for cell in cells if cell["cell_type"] == "code"]
    assert not any(cell["outputs"] or cell["execution_count"] for cell in code)

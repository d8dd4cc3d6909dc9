"""The notebook, executed from top to bottom against a real server."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

from maskrcnn_predict.child import served

pytestmark = pytest.mark.full

ROOT = Path(__file__).parents[1]
NOTEBOOK = ROOT / "examples/mask_rcnn_inference.ipynb"
DEMO = ROOT / "backends/tensorpack/maskrcnn_tensorpack/demo/model"
DRAWN = "print(len(annotations), len(axes.patches), len({a['category_id'] for a in annotations}))"


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with served(DEMO, "tensorpack") as address:
        yield address


def opened() -> Any:
    return nbformat.read(NOTEBOOK, as_version=4)  # type: ignore[no-untyped-call]


def executed(notebook: Any) -> tuple[list[int], list[str]]:
    """Annotations, boxes drawn and classes; and the kinds of what the cell that draws shows."""
    (drawing,) = (cell for cell in notebook.cells if "plt.show" in cell.source)
    drawing.source += f"\n{DRAWN}"
    resources = {"metadata": {"path": str(NOTEBOOK.parent)}}
    NotebookClient(notebook, timeout=120, resources=resources).execute()
    (printed,) = (output.text for output in drawing.outputs if output.output_type == "stream")
    kinds = [kind for output in drawing.outputs for kind in output.get("data", {})]
    return [int(number) for number in printed.split()], kinds


def test_it_draws_what_a_local_endpoint_finds(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("ENDPOINT_URL", url)
    (annotations, boxes, classes), kinds = executed(opened())
    assert annotations == boxes > 2
    assert classes > 1
    assert "image/png" in kinds


def test_one_cell_makes_it_ask_sagemaker(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The server takes the place of SageMaker's own address, which boto3 signs requests for."""
    monkeypatch.setenv("AWS_ENDPOINT_URL_SAGEMAKER_RUNTIME", url)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    notebook = opened()
    (cell,) = (cell for cell in notebook.cells if cell.source.startswith("endpoint_name ="))
    cell.source = 'endpoint_name, endpoint_url, region = "demo", None, "eu-west-1"'
    (annotations, boxes, _), _ = executed(notebook)
    assert annotations == boxes > 2


def test_it_is_kept_without_outputs() -> None:
    cells = json.loads(NOTEBOOK.read_text())["cells"]
    code = [cell for cell in cells if cell["cell_type"] == "code"]
    assert not any(cell["outputs"] or cell["execution_count"] for cell in code)

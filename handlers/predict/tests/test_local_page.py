"""What docs/reference/local_model.md shows, run."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs/reference/local_model.md").read_text()
DEMO = ROOT / "backends/tensorpack/maskrcnn_tensorpack/demo"


def test_the_example_runs(capsys: pytest.CaptureFixture[str]) -> None:
    (example,) = re.findall(r"^```python\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    image = min((DEMO / "images").iterdir())
    exec(example, {"MODEL": str(DEMO / "model"), "IMAGE": image})  # noqa: S102 (the page's own)
    counted, named = capsys.readouterr().out.splitlines()
    assert re.fullmatch(r"\d+ instances \(\d+, 4\) \[.+\]", counted)
    assert re.fullmatch(r"\w+ \[[\d., ]+\]", named)

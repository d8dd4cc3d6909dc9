"""docs/formats.md against the formats, and what it shows, run."""

import re
from pathlib import Path

import numpy as np
import pytest

from maskrcnn_server.backend import ModelMetadata
from maskrcnn_server.categories import coco
from maskrcnn_server.detections import Detections
from maskrcnn_server.formats import Prediction
from maskrcnn_server.masks import BitMasks
from maskrcnn_server.plugins import Plugins

PAGE = (Path(__file__).parents[1] / "docs/formats.md").read_text()
SECTIONS = dict(re.findall(r"^## `([\w-]+)`\n(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL))
EXAMPLES = {
    name: code
    for name, text in SECTIONS.items()
    for code in re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
}
FORMATS = Plugins().formats()

# pycocotools 2.0.11 hands numpy an array in a way that numpy 2 deprecates.
pytestmark = pytest.mark.filterwarnings(
    "ignore:__array__ implementation:DeprecationWarning", "ignore:unclosed file:ResourceWarning"
)


@pytest.fixture
def prediction() -> Prediction:
    """A person with a hole."""
    bitmaps = np.zeros((1, 20, 30), np.bool_)
    bitmaps[0, 5:15, 10:28] = True
    bitmaps[0, 8:10, 15:20] = False
    found = Detections(
        size=(20, 30),
        boxes=np.array([[10, 5, 28, 15]], np.float32),
        scores=np.array([0.9], np.float32),
        category_ids=np.array([1]),
        masks=BitMasks(bitmaps),
    )
    model = ModelMetadata(name="m", backend="fake", categories=coco(), score_threshold=0.5)
    image = np.zeros((20, 30, 3), np.uint8)
    return Prediction(image_id="street.jpg", image=image, detections=found, model=model)


@pytest.mark.parametrize("name", FORMATS)
def test_a_format_has_a_row_and_a_section(name: str) -> None:
    assert f"| [`{name}`](#{name}) | `{FORMATS[name].media_type}` |" in PAGE
    assert name in SECTIONS


def test_no_other_format_is_described() -> None:
    assert set(SECTIONS) == set(FORMATS)


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_runs(
    name: str, prediction: Prediction, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (file,) = set(re.findall(r"reply\.\w+", EXAMPLES[name]))
    Path(file).write_bytes(FORMATS[name].render(prediction))
    seen: dict[str, object] = {}
    exec(compile(EXAMPLES[name], f"docs/formats.md, {name}", "exec"), seen)  # noqa: S102 (ours)
    bitmap = seen.get("bitmap", seen.get("first"))
    if bitmap is not None:
        assert np.count_nonzero(np.asarray(bitmap)) == 170
    if "area" in seen:
        assert seen["area"] == 170

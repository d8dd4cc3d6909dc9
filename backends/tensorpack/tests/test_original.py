"""The engine `original`, with a stand-in for the framework's code."""

import os
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from maskrcnn_server.backend import Image, Model, ModelConfig, PredictOptions
from maskrcnn_server.errors import BackendFailed, InvalidModel, InvalidSetting
from maskrcnn_server.masks import RoiMasks
from maskrcnn_server.trace import Traces
from maskrcnn_study.verification import first_difference, verify
from maskrcnn_tensorpack.backend import TensorPackBackend
from maskrcnn_tensorpack.original import ORIGINAL

pytestmark = pytest.mark.full

STAND_IN = Path(__file__).parent / "stand_in"
BLUE = np.full((24, 30, 3), (10, 20, 200), np.uint8)
RED = np.full((24, 30, 3), (200, 20, 10), np.uint8)


class StandInBackend(TensorPackBackend):
    """Whose original code needs little."""

    def __init__(self) -> None:
        super().__init__()
        object.__setattr__(
            self, "original", replace(ORIGINAL, packages=("tensorpack==0.11", "tf-keras"))
        )


@pytest.fixture(scope="module")
def config(demo_dir: Path) -> ModelConfig:
    return ModelConfig(model_dir=demo_dir, engine="original", original=STAND_IN)


@pytest.fixture(scope="module")
def model(config: ModelConfig) -> Iterator[Model]:
    loaded = StandInBackend().load(config)
    yield loaded
    loaded.close()


def test_what_the_framework_finds_is_answered(model: Model) -> None:
    blue, red = model.predict([BLUE, RED], PredictOptions())
    for found, category in ((blue, 2), (red, 1)):
        np.testing.assert_allclose(found.boxes, [[0, 0, 30, 24]], atol=1e-4)
        assert found.scores.tolist() == [0.75]
        assert found.category_ids.tolist() == [category]
        assert found.masks is not None
        assert found.masks.rle("rows")[0].area == 720


def test_nothing_of_it_reaches_the_server(model: Model) -> None:
    model.predict([BLUE], PredictOptions())
    assert not {"tensorpack", "config", "eval", "dataset", "modeling"} & sys.modules.keys()
    assert "TF_USE_LEGACY_KERAS" not in os.environ
    assert str(STAND_IN) not in sys.path


def test_options_are_honoured(model: Model) -> None:
    assert len(model.predict([BLUE], PredictOptions(score_threshold=0.8))[0]) == 0
    assert model.predict([BLUE], PredictOptions(masks=False))[0].masks is None
    (soft,) = model.predict([BLUE], PredictOptions(mask_threshold=0.3))
    assert isinstance(soft.masks, RoiMasks)
    (with_proposals,) = model.predict([BLUE], PredictOptions(proposals=True))
    assert with_proposals.proposals is not None
    assert with_proposals.proposals.class_scores.shape == (1, 7)


def test_metadata_names_the_code(model: Model) -> None:
    facts = model.metadata.facts
    assert facts["engine"] == "original"
    assert facts["checkout"] == str(STAND_IN)
    assert len(facts["commit"]) >= 40 or facts["commit"] == "unknown"
    assert facts["packages"].startswith("tensorpack 0.11, tf-keras ")


def test_its_stages_differ_from_ours_where_it_does(model: Model, demo_model: Model) -> None:
    """The picture is resized alike; one layer is no ResNet."""
    assert isinstance(model, Traces)
    assert isinstance(demo_model, Traces)
    options = PredictOptions(score_threshold=0.05)
    theirs, ours = model.trace(BLUE, options), demo_model.trace(BLUE, options)
    np.testing.assert_array_equal(theirs.resized, ours.resized)
    difference = first_difference(verify(ours, theirs))
    assert difference is not None
    assert difference.stage == "features"


def test_an_image_that_it_fails_on_costs_no_other(model: Model) -> None:
    with pytest.raises(BackendFailed, match="failed: ValueError: this picture is broken"):
        model.predict([np.zeros((7, 9, 3), np.uint8)], PredictOptions())
    assert len(model.predict([BLUE], PredictOptions())[0]) == 1


def test_its_death_is_reported_with_its_last_words(config: ModelConfig) -> None:
    loaded = StandInBackend().load(config)
    deadly: Image = np.zeros((13, 9, 3), np.uint8)
    for picture in (deadly, BLUE):
        with pytest.raises(BackendFailed, match=r"ended by itself \(exit code 3\)"):
            loaded.predict([picture], PredictOptions())
    loaded.close()
    loaded.close()


def checkout(folder: Path, **changes: str) -> Path:
    """The stand-in with other files."""
    for path in STAND_IN.rglob("*.py"):
        copy = folder / path.relative_to(STAND_IN)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_text(path.read_text())
    for name, text in changes.items():
        (folder / f"{name}.py").write_text(text)
    return folder


def test_code_that_does_not_start_is_reported_with_what_it_printed(
    config: ModelConfig, tmp_path: Path
) -> None:
    broken = checkout(tmp_path, config="print('about to fail')\nraise SystemExit('no luck')\n")
    with pytest.raises(InvalidModel, match=r"failed: SystemExit: no luck\n    about to fail"):
        StandInBackend().load(replace(config, original=broken))


def test_a_graph_of_another_version_is_named(config: ModelConfig, tmp_path: Path) -> None:
    changed = checkout(tmp_path)
    model = changed / "modeling/generalized_rcnn.py"
    model.write_text(model.read_text().replace('"fastrcnn_all_scores"', '"other"'))
    with pytest.raises(InvalidModel, match="no tensor fastrcnn_all_scores: check the version"):
        StandInBackend().load(replace(config, original=changed))


def test_what_is_missing_is_named(config: ModelConfig, tmp_path: Path) -> None:
    nowhere = replace(config, original=None)
    with pytest.raises(InvalidSetting, match=r"needs a checkout .*: set TENSORPACK_FASTERRCNN"):
        StandInBackend().load(nowhere)
    with pytest.raises(InvalidSetting, match=r"not a checkout .*: config\.py, eval\.py"):
        StandInBackend().load(replace(config, original=tmp_path))
    lacking = StandInBackend()
    object.__setattr__(lacking, "original", replace(ORIGINAL, packages=("no-such-package>=2",)))
    with pytest.raises(InvalidSetting, match=r"needs no-such-package>=2: pip install 'maskrcnn-t"):
        lacking.load(config)


def test_the_variable_names_the_checkout(config: ModelConfig) -> None:
    """`TENSORPACK_FASTERRCNN` is the option `fasterrcnn` of this backend."""
    by_option = replace(config, original=None, options={"fasterrcnn": str(STAND_IN)})
    loaded = StandInBackend().load(by_option)
    assert loaded.metadata.facts["checkout"] == str(STAND_IN)
    loaded.close()

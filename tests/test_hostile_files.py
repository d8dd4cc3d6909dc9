"""Small files that would keep the server busy for minutes are refused after a bounded work."""

import json
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import hostile_files
import pytest
from hostile_files import ARCHIVES, FILES

from maskrcnn_network.checkpoints import kinds
from maskrcnn_network.checkpoints.checkpoint import Npz
from maskrcnn_network.checkpoints.safetensors import Safetensors
from maskrcnn_network.checkpoints.state_dict import StateDict
from maskrcnn_network.checkpoints.tensor_bundle import TensorBundle
from maskrcnn_network.sources import read as read_configuration
from maskrcnn_network.tensorpack_config import TensorPackConfig
from maskrcnn_onnx import proto
from maskrcnn_server import settings as environment
from maskrcnn_server import work, yaml_file
from maskrcnn_server.backend import ModelConfig
from maskrcnn_server.errors import BackendNotSelected, InvalidModel
from maskrcnn_server.hosting import located
from maskrcnn_server.hosting.located import choose_backend, locate
from maskrcnn_server.plugins import installed
from maskrcnn_server.store import archives
from maskrcnn_server.work import MAX_STEPS, TooMuchWork, Work, limited
from maskrcnn_server.yaml_file import NotYaml

ROOT = Path(__file__).parents[1]
DEMO = ROOT / "backends/tensorpack/maskrcnn_tensorpack/demo/model"
STATE_DICTS = ROOT / "backends/network/tests/state_dicts"
EXPORTS = ROOT / "backends/onnx/tests/data"
MAX_SECONDS = 20
"""Ten times what refusing may take on a machine that does nothing else."""
STEPS = MAX_STEPS // 4
"""Budget of the tests, which take less time with it."""
BUDGETS = 2
"""Number of budgets of a refusal: of the backends, and of the description of the file."""
HARMLESS = {name for name in FILES if name.startswith("log: ")}
"""Files of which little is read, so that they can be read."""


@pytest.fixture
def budgets(monkeypatch: pytest.MonkeyPatch) -> list[Work]:
    """Every budget that is made."""
    made: list[Work] = []

    class Kept(Work):
        def __init__(self) -> None:
            super().__init__(max_steps=STEPS)
            made.append(self)

    monkeypatch.setattr(work, "Work", Kept)
    return made


@pytest.mark.parametrize("name", FILES)
def test_a_hostile_file_is_refused_after_a_bounded_work(
    name: str, tmp_path: Path, budgets: list[Work]
) -> None:
    is_configuration = name.startswith(("yaml", "log"))
    if is_configuration:
        shutil.copy(DEMO / "model-6770.npz", tmp_path)
    FILES[name](tmp_path)
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) < 24 << 20
    settings = environment.read(model=str(tmp_path))
    start = time.monotonic()
    if name in HARMLESS:
        found = locate(installed(), settings.model, settings)
        assert choose_backend(installed(), found).name == "tensorpack"
    else:
        with pytest.raises(BackendNotSelected) as caught:
            choose_backend(installed(), locate(installed(), settings.model, settings))
        assert len(caught.value.message) < 5000
    assert time.monotonic() - start < MAX_SECONDS
    assert len(budgets) <= BUDGETS
    assert all(budget.steps <= STEPS + 1 for budget in budgets)


@pytest.mark.parametrize("name", ["marks", "shared modules", "key prefixes", "axes", "nodes"])
@pytest.mark.usefixtures("budgets")
def test_it_is_the_budget_that_refuses_them(name: str, tmp_path: Path) -> None:
    FILES[name](tmp_path)
    settings = environment.read(model=str(tmp_path))
    found = locate(installed(), settings.model, settings)
    assert any(
        "takes more work" in reason for reason in found.reasons(installed().backends().values())
    )


@pytest.mark.parametrize("name", ARCHIVES)
def test_a_hostile_archive_is_refused(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archives, "MIN_BYTES", 1 << 20)
    file, content = ARCHIVES[name]()
    (tmp_path / file).write_bytes(content)
    start = time.monotonic()
    if name == "zips in zips":
        # One level is unpacked, and what is in it is no model.
        archives.unpack(tmp_path / file, tmp_path / "out")
    else:
        with pytest.raises(InvalidModel):
            archives.unpack(tmp_path / file, tmp_path / "out")
    assert time.monotonic() - start < MAX_SECONDS
    unpacked = [path for path in (tmp_path / "out").rglob("*") if path.is_file()]
    assert len(unpacked) <= archives.MAX_FILES
    assert sum(path.stat().st_size for path in unpacked) <= 20 * len(content) + (1 << 20)


def test_very_many_folders_are_not_searched(
    tmp_path: Path, budgets: list[Work], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(located, "FOLDER_STEPS", STEPS // 10)
    for i in range(10):
        (tmp_path / str(i)).mkdir()
    settings = environment.read(model=str(tmp_path))
    with pytest.raises(TooMuchWork):
        locate(installed(), settings.model, settings)
    assert len(budgets) == 1


def _bundle(folder: Path) -> Path:
    hostile_files.index(hostile_files.record(b"fpn/W", b"\x08\x01") * 20)(folder)
    (folder / "model-1.data-00000-of-00001").touch()
    return folder / "model-1.index"


def _safetensors(folder: Path) -> Path:
    entry = {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}
    header = json.dumps({f"a{i}": entry for i in range(20)}).encode()
    hostile_files.safetensors(header)(folder)
    return folder / "model.safetensors"


def _yaml(folder: Path) -> Path:
    hostile_files.config("A: [1, 2, 3]\n")(folder)
    return folder / "config.yaml"


READERS: dict[str, Callable[[Path], object]] = {
    "npz": lambda _: Npz(DEMO / "model-6770.npz"),
    "pickle in a zip": lambda _: StateDict(STATE_DICTS / "state_dict.zip.pth"),
    "pickle of old": lambda _: StateDict(STATE_DICTS / "state_dict.legacy.pth"),
    "pickle of detectron2": lambda _: StateDict(STATE_DICTS / "detectron2.protocol4.pkl"),
    "bundle": lambda folder: TensorBundle(_bundle(folder)),
    "safetensors": lambda folder: Safetensors(_safetensors(folder)),
    "onnx": lambda _: proto.read(EXPORTS / "torchvision.onnx"),
    "kind": lambda _: kinds.kind(EXPORTS / "torchvision.onnx"),
    "log": lambda folder: read_configuration(
        ModelConfig(model_dir=_logged(folder)), TensorPackConfig
    ),
}


def _logged(folder: Path) -> Path:
    hostile_files.log("Config: -----\n{'MODE_FPN':" + " " * 999 + "True}\n\n")(folder)
    return folder


@pytest.mark.parametrize("reader", READERS)
def test_every_reader_draws_on_the_budget(reader: str, tmp_path: Path) -> None:
    with limited(Work(max_steps=20)), pytest.raises(TooMuchWork, match="takes more work to read"):
        READERS[reader](tmp_path)
    with limited() as budget:
        READERS[reader](tmp_path)
    assert 20 < budget.steps < MAX_STEPS / 4


def test_yaml_draws_on_the_budget(tmp_path: Path) -> None:
    path = _yaml(tmp_path)
    with limited(Work(max_steps=20)), pytest.raises(NotYaml, match="takes more work to read"):
        yaml_file.read(path)
    assert yaml_file.read(path) == {"A": [1, 2, 3]}


def test_time_is_a_backstop() -> None:
    with limited(Work(max_seconds=0)), pytest.raises(TooMuchWork, match="takes too long"):
        Npz(DEMO / "model-6770.npz")

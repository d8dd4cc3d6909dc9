import os
import shutil
import tarfile
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from maskrcnn_handlers.cli.main import program
from maskrcnn_server.errors import InvalidModel, InvalidSetting
from maskrcnn_server.plugins import Plugins

app = program(Plugins())

DEMO = Path(__file__).parents[3] / "backends/tensorpack/maskrcnn_tensorpack/demo/model"


def run(*arguments: str | Path) -> Result:
    """The command, whose errors are raised."""
    options = [*map(str, arguments), "--backend", "tensorpack"]
    return CliRunner().invoke(app, options, catch_exceptions=False)


@pytest.fixture
def training(tmp_path: Path) -> Path:
    """The folder of a training, two levels down, with what serving does not need."""
    folder = tmp_path / "work/train_log"
    shutil.copytree(DEMO, folder)
    (folder / "events.out.tfevents.1").write_bytes(b"curves")
    (folder / "graph-0101-000000.meta").write_bytes(b"graph")
    (folder / "model-10.npz").write_bytes(b"an earlier checkpoint")
    (folder / "classes.txt").write_text("circle\nsquare\ntriangle\nstar\nhexagon\ncross\n")
    return tmp_path / "work"


def test_only_what_serving_takes_is_packed(training: Path, tmp_path: Path) -> None:
    archive = tmp_path / "out/model.tar.gz"
    assert run("pack", training, archive).exit_code == 0
    with tarfile.open(archive) as tar:
        assert tar.getnames() == ["classes.txt", "config.yaml", "model-6770.npz"]
        assert {(m.mtime, m.uid, m.gid, m.uname, m.mode) for m in tar} == {(0, 0, 0, "", 0o644)}
    assert [path.name for path in archive.parent.iterdir()] == ["model.tar.gz"]


def test_the_archive_would_be_served(
    training: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MASKRCNN_CACHE", str(tmp_path / "cache"))
    run("pack", training, tmp_path / "model.tar.gz")
    assert "would be served by tensorpack" in run("doctor", tmp_path / "model.tar.gz").output


def test_the_same_files_make_the_same_archive(training: Path, tmp_path: Path) -> None:
    one, two = tmp_path / "one.tar.gz", tmp_path / "two.tar.gz"
    run("pack", training, one)
    for path in training.rglob("*"):
        path.chmod(0o700)
        os.utime(path, (1, 1))
    run("pack", training, two)
    assert one.read_bytes() == two.read_bytes()


def test_what_doctor_refuses_is_not_packed(training: Path, tmp_path: Path) -> None:
    (training / "train_log/classes.txt").write_text("one\ntwo\n")
    with pytest.raises(InvalidModel, match="would not be served by tensorpack"):
        run("pack", training, tmp_path / "model.tar.gz")
    assert not (tmp_path / "model.tar.gz").exists()


def test_another_ending_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidSetting, match=r"SageMaker takes a \.tar\.gz"):
        run("pack", DEMO, tmp_path / "model.zip")

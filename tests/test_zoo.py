"""A model of the zoo, served by its name from a file server that has it."""

import functools
import json
import shutil
import threading
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from typer.testing import CliRunner

from maskrcnn_handlers.cli.main import program
from maskrcnn_server.plugins import Plugins
from maskrcnn_tensorpack.plugin import DEMO
from maskrcnn_tensorpack.zoo import models

app = program(Plugins())

PICTURE = Path(__file__).parent / "demo/golden/shapes-9500003.png"


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def zoo(tmp_path: Path) -> Iterator[str]:
    """Has the bundled model under every name of the zoo."""
    for model in models():
        shutil.copy(DEMO / "model/model-6770.npz", tmp_path / model.file)
    handler = functools.partial(Quiet, directory=str(tmp_path))
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()
    thread.join()


def test_model_of_the_zoo_is_served_by_its_name(
    zoo: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MASKRCNN_ZOO_URL", zoo)
    monkeypatch.setenv("MASKRCNN_CACHE", str(tmp_path / "cache"))
    answers = tmp_path / "answers.json"
    arguments = ["predict", str(PICTURE), "--model", "tensorpack:R50FPN2x"]
    runner = CliRunner()
    done = runner.invoke(app, [*arguments, "--backend", "tensorpack", "--json", str(answers)])
    assert done.exit_code == 0, done.output
    assert json.loads(answers.read_text())
    listed = runner.invoke(app, ["models"]).output
    assert "tensorpack:R50FPN2x: 18.0 MB" in listed
    assert listed.count("tensorpack:") == 1 + len(list(models()))

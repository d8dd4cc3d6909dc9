"""The likeliest mistakes of a new user: what is said names what was given, what is right, and the
next command."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

DEMO = Path(__file__).parents[3] / "backends/tensorpack/maskrcnn_tensorpack/demo/model"
SETTINGS = "maskrcnn-server COMMAND --help, or docs/settings.md"
DOCTOR = "maskrcnn-server doctor MODEL"
BACKENDS = "maskrcnn-server backends"
SERVE = "serve model --backend tensorpack --port 0"

MISTAKES = {
    "model that is absent": ("serve no.tar.gz", "no.tar.gz", "maskrcnn-server models", DOCTOR),
    "file for a folder": ("serve text.png", "text.png", "name the folder", DOCTOR),
    "empty folder": ("serve empty", "holds: nothing", "asked: ", BACKENDS),
    "backend misspelt": ("serve model --backend yolact", "yolact", "installed: ", BACKENDS),
    "name of the zoo": ("doctor tensorpack:R50", "tensorpack:R50", "R50FPN2x", DOCTOR),
    "architecture": (f"RESNET_ARCH=resnet101 {SERVE}", "resnet101", "unset RESNET_ARCH", DOCTOR),
    "int8 uncalibrated": (f"MASKRCNN_PRECISION=int8 {SERVE}", "int8", "calibrate model", DOCTOR),
    "precision of a GPU": (f"MASKRCNN_PRECISION=float16 {SERVE}", "float16", "float32", SETTINGS),
    "precision": (f"MASKRCNN_PRECISION=fp16 {SERVE}", "=fp16", "'float16'", SETTINGS),
    "device": (f"MASKRCNN_DEVICE=gpu {SERVE}", "=gpu", "`cuda`", SETTINGS),
    "no such GPU": (f"MASKRCNN_DEVICE=cuda {SERVE}", "=cuda", "driver", SETTINGS),
    "engine": (f"MASKRCNN_ENGINE=onnxruntime {SERVE}", "=onnxruntime", "not installed", SETTINGS),
    "port": ("MASKRCNN_PORT=http serve model", "MASKRCNN_PORT=http", "integer", SETTINGS),
    "threshold": (f"MASKRCNN_SCORE_THRESHOLD=50 {SERVE}", "=50", "less than", SETTINGS),
    "setting misspelt": (
        f"MASKRCNN_SCORE_TRESHOLD=0.5 {SERVE}",
        "MASKRCNN_SCORE_TRESHOLD",
        "the nearest is MASKRCNN_SCORE_THRESHOLD",
        SETTINGS,
    ),
    "two models": ("serve model --model other", "other", "name one", SETTINGS),
    "image that is none": ("demo --image text.png", "text.png", "JPEG, PNG", ""),
    "image that is absent": ("demo --image no.png", "no.png", "no such file", ""),
    "no server": (
        "predict image.png --url http://127.0.0.1:9",
        "127.0.0.1:9",
        "refused",
        "maskrcnn-server serve MODEL",
    ),
    "format of convert": ("convert model out --to onnx", "--to onnx", "npz16", SETTINGS),
    "format of export": ("export model out --format tflite", "tflite", "saved_model", SETTINGS),
    "target that is there": ("convert model empty", "empty", "name another", SETTINGS),
    "name of a backend": ("new-backend my-net", "my-net", "single _", SETTINGS),
    "name of ours": ("new-backend playground", "playground", "of this project", SETTINGS),
}
"""By mistake: the command line, what was given, what is right, and the next command."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a model, an empty folder and a text that is called an image, and an image."""
    home = tmp_path_factory.mktemp("mistakes")
    shutil.copytree(DEMO, home / "model")
    (home / "empty").mkdir()
    (home / "text.png").write_text("no image")
    shutil.copy(DEMO.parent / "images/shapes-1.png", home / "image.png")
    return home


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_one_line_that_says_what_to_do(mistake: str, folder: Path) -> None:
    line, given, right, following = MISTAKES[mistake]
    words = line.split()
    variables = dict(word.split("=") for word in words if "=" in word)
    command = [sys.executable, "-m", "maskrcnn_handlers", *(w for w in words if "=" not in w)]
    done = subprocess.run(
        command,
        cwd=folder,
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    error = done.stderr.splitlines()[-1]
    assert error.startswith("error (")
    for part in (given, right, following):
        assert part in error
    assert "ready after" not in done.stderr

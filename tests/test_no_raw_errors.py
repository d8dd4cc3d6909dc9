"""Whatever a model folder or an annotation is, no command ends with an error of Python's."""

import os
import re
import shutil
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path

import pytest
import typer
from hostile_files import FILES
from typer.testing import CliRunner

from maskrcnn_handlers.cli.main import program
from maskrcnn_server import settings as environment
from maskrcnn_server import work
from maskrcnn_server.errors import MaskRCNNError
from maskrcnn_server.hosting.startup import open_model
from maskrcnn_server.plugins import installed
from maskrcnn_server.work import Work

ROOT = Path(__file__).parents[1]
DEMO = ROOT / "backends/tensorpack/maskrcnn_tensorpack/demo/model"
PICTURE = ROOT / "tests/images/chelsea.png"
RAW = re.compile(r"\b(\w+Error|\w+Exception|Traceback)\b")
"""Pattern of what only a programmer would understand."""
Write = Callable[[Path], object]


def demo(folder: Path) -> None:
    shutil.copytree(DEMO, folder, dirs_exist_ok=True)


def damaged(name: str, content: bytes) -> Write:
    """The demo model with this for one of its files."""

    def write(folder: Path) -> None:
        demo(folder)
        (folder / name).write_bytes(content)

    return write


def folder_for(name: str) -> Write:
    """The demo model with a folder where a file should be."""

    def write(folder: Path) -> None:
        demo(folder)
        (folder / name).unlink(missing_ok=True)
        (folder / name).mkdir()

    return write


def link_for(name: str) -> Write:
    """A link to nowhere."""
    return lambda folder: (folder / name).symlink_to("nowhere")


def pipe_for(name: str) -> Write:
    """A pipe into which nobody writes."""
    return lambda folder: os.mkfifo(folder / name)


def cut(share: float) -> Write:
    data = (DEMO / "model-6770.npz").read_bytes()
    return damaged("model-6770.npz", data[: int(len(data) * share)])


BROKEN: dict[str, Write] = {
    "nothing": lambda _: None,
    **{f"{name}, empty": damaged(name, b"") for name in ("model-6770.npz", "model.onnx")},
    **{
        f"{suffix}, {kind}": partial(lambda content, name, f: (f / name).write_bytes(content),
                                     content, f"model{suffix}")
        for suffix in (".pth", ".npz", ".onnx", "-1.index", ".safetensors", ".pkl", ".h5", ".pb")
        for kind, content in {
            "empty": b"",
            "zeros": bytes(5000),
            "text": b"hello world, this is no model\n" * 9,
            "page": b"<!DOCTYPE html><html></html>",
            "noise": bytes(range(256)) * 20,
            "zip": b"PK\x03\x04" + bytes(range(256)) * 20,
            "pickle": b"\x80\x04\x95" + bytes(range(256)) * 20,
        }.items()
    },
    **{f"cut at {share}": cut(share) for share in (0.01, 0.3, 0.9, 0.999)},
    **{
        f"folder for {name}": folder_for(name)
        for name in ("model-6770.npz", "classes.txt", "config.yaml", "log.log", "int8.json")
    },
    **{f"link for {name}": link_for(name) for name in ("model.pth", "model.onnx", "config.yaml")},
    **{f"pipe for {name}": pipe_for(name) for name in ("model.pth", "model.onnx", "model.h5")},
    "classes.txt of bytes": damaged("classes.txt", b"\xff\xfe\0"),
    "classes.txt of zeros": damaged("classes.txt", bytes(100)),
    **{
        f"config.yaml, {text[:20]!r}": damaged("config.yaml", text.encode())
        for text in (
            "- a", "a", "1: 2", "null", "a: b: c", "FPN: 1", "FPN: [1]", "FPN: {ANCHOR_STRIDES: 1}",
            "RPN: {ANCHOR_SIZES: {a: 1}}", "PREPROC: {MAX_SIZE: .nan}", "PREPROC: {MAX_SIZE: -1}",
            "_BASE_: [1]", "_BASE_: config.yaml", "config_inference: 3", "class_names: 5",
            "DATA: {CLASS_NAMES: [1, 2, 3, 4, 5, 6]}", "MODE_MASK: {}",
            "TEST: {RESULTS_PER_IM: 1e99}",
        )
    },
    **{
        f"log.log, {text!r}": damaged("log.log", f"Config: -----\n{text}\n\n".encode())
        for text in ("{1: 2}", "{}", "{'FPN': 1}", "{'A': {1, 2}}", "{[]: 1}", "{'MODE_FPN': None}")
    },
}  # fmt: skip
"""Folders that hold no model, or a broken one."""
REFUSED = {**BROKEN, **{name: write for name, write in FILES.items() if "weights of" not in name}}


@pytest.fixture(autouse=True)
def _small_budget(
    monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Little work is allowed, and what commands write by default is written elsewhere."""
    monkeypatch.chdir(tmp_path_factory.mktemp("here"))
    monkeypatch.setattr(work, "Work", partial(Work, max_steps=120_000))


@cache
def app() -> typer.Typer:
    return program(installed())


def run(*arguments: str | Path) -> str:
    """What a command says, its error included."""
    done = CliRunner().invoke(app(), [str(argument) for argument in arguments])
    error = done.exception
    assert error is None or isinstance(error, MaskRCNNError | SystemExit), repr(error)
    said = done.output + (error.message if isinstance(error, MaskRCNNError) else "")
    assert not RAW.search(said), said
    return said


@pytest.mark.parametrize("name", REFUSED)
def test_a_folder_is_examined_and_loaded_without_a_raw_error(name: str, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    REFUSED[name](folder)
    if "would be served" in run("doctor", folder):
        open_model(installed(), environment.read(model=str(folder))).close()
        return
    with pytest.raises(MaskRCNNError) as caught:
        open_model(installed(), environment.read(model=str(folder)))
    assert not RAW.search(caught.value.message)


SHORT = ("nothing", ".pth, noise", ".npz, zip", "cut at 0.9", ".onnx, zeros")
COMMANDS: dict[str, Callable[[Path, Path], tuple[str | Path, ...]]] = {
    "convert": lambda model, out: ("convert", model, out),
    "calibrate": lambda model, _: ("calibrate", model, PICTURE.parent),
    "export": lambda model, out: ("export", model, out),
    "verify": lambda model, _: ("verify", model, PICTURE),
    "predict": lambda model, out: ("predict", PICTURE, "--model", model, "--out", out),
    "compare": lambda model, _: ("compare", model, model, PICTURE),
    "bench": lambda model, _: ("bench", PICTURE, "--model", model),
    "pack": lambda model, out: ("pack", model, out),
    "check-backend": lambda model, _: ("check-backend", "yolact", "--model", model),
    "doctor of the file": lambda model, _: ("doctor", next(model.iterdir(), model)),
    "models.yaml": lambda model, _: ("doctor", _models(model)),
    "evaluate": lambda model, _: (
        "evaluate", "--coco", next(model.iterdir(), model), "--images", PICTURE.parent,
    ),
    "convert-results": lambda model, out: (
        "convert-results", next(model.iterdir(), model), "--format", "coco", "--out", out,
    ),
}  # fmt: skip


def _models(model: Path) -> Path:
    file = model.parent / "models.yaml"
    file.write_text(f"models: {{a: {{model: {model}}}}}\n")
    return file


@pytest.mark.parametrize("name", SHORT)
@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_ends_without_a_raw_error(command: str, name: str, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    REFUSED[name](folder)
    assert run(*COMMANDS[command](folder, tmp_path / "out"))


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", "null", '{"images": 1}', '{"models": [1]}', "[" * 9000, "\0", "a: *b"]
)
@pytest.mark.parametrize("command", ["models.yaml", "coco", "results"])
def test_a_file_that_says_nonsense_is_refused(command: str, text: str, tmp_path: Path) -> None:
    file = tmp_path / ("models.yaml" if command == "models.yaml" else "file.json")
    file.write_text(text)
    if command == "models.yaml":
        run("doctor", file)
    elif command == "coco":
        run("evaluate", "--coco", file, "--images", PICTURE.parent, "--url", "http://127.0.0.1:9")
    else:
        run("convert-results", file, "--format", "coco", "--out", tmp_path / "out.json")

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import PIL.Image
import pytest

Install = Callable[..., dict[str, str]]
Done = subprocess.CompletedProcess[str]

DEMO = Path(__file__).parents[3] / "backends/tensorpack/maskrcnn_tensorpack/demo"


def run(*arguments: str | Path, env: dict[str, str] | None = None) -> Done:
    """The program in a process of its own."""
    command = [sys.executable, "-m", "maskrcnn_handlers", *map(str, arguments)]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=120, check=False, env=env
    )


def assert_failed(done: Done, code: str) -> None:
    """One line on stderr that says why, and exit code 1."""
    assert done.returncode == 1
    assert done.stderr.startswith(f"error ({code}): ")
    assert len(done.stderr.splitlines()) == 1


def test_help_names_every_command() -> None:
    done = run("--help")
    assert done.returncode == 0
    commands = "serve predict doctor backends convert export demo bench pack deploy invoke"
    for command in commands.split():
        assert command in done.stdout


def test_the_console_script_is_the_same_program() -> None:
    script = Path(sys.executable).parent / "maskrcnn-server"
    done = subprocess.run([script, "--help"], capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert "doctor" in done.stdout


def test_a_command_that_does_not_exist_is_a_usage_error() -> None:
    assert run("train").returncode == 2


def test_backends_lists_plugins_and_formats(install: Install) -> None:
    done = run("backends", env=install())
    assert done.returncode == 0, done.stdout
    assert "stranger" in done.stdout
    assert "register_backends" in done.stdout
    names = re.search(r"^backends: (.*)$", done.stdout, re.MULTILINE)
    assert names is not None
    assert {"fake", "tensorpack"} <= set(names[1].split(", "))
    assert "formats: sagemaker, coco" in done.stdout


def test_backends_reports_a_broken_plugin(install: Install) -> None:
    done = run("backends", env=install("raise RuntimeError('no [bold] luck')"))
    assert done.returncode == 1
    assert "broken: stranger of stranger: RuntimeError: no [bold] luck" in done.stdout
    assert "tensorpack" in done.stdout


def test_check_backend_says_what_is_wrong_and_what_to_do(install: Install, tmp_path: Path) -> None:
    done = run("check-backend", "fake", "--model", tmp_path, env=install())
    assert done.returncode == 1
    assert "passed  the same image gets the same answer\n" in done.stdout
    assert "failed  empty folder is refused\n" in done.stdout
    assert "gave a model: raise maskrcnn_server.errors.InvalidModel" in done.stdout
    assert re.search(
        r"^\d+ passed, \d+ failed$|^\d+ failed, \d+ passed$", done.stdout, re.MULTILINE
    )
    assert done.stderr == ""


def test_check_backend_of_one_that_is_not_installed_lists_the_others(tmp_path: Path) -> None:
    done = run("check-backend", "yolact", "--model", tmp_path)
    assert_failed(done, "backend_not_selected")
    assert "installed: aws_samples, " in done.stderr


def test_check_backend_without_pytest_says_what_to_install(tmp_path: Path) -> None:
    (tmp_path / "pytest.py").write_text("raise ModuleNotFoundError('pytest')")
    env = {**os.environ, "PYTHONPATH": str(tmp_path)}
    done = run("check-backend", "fake", "--model", tmp_path, env=env)
    assert_failed(done, "invalid_setting")
    assert "pip install maskrcnn-plugin-kit" in done.stderr


def test_pytest_runs_the_suite_on_an_installed_backend(install: Install, tmp_path: Path) -> None:
    pytest_ = [sys.executable, "-m", "pytest", "-p", "maskrcnn_plugin_kit.testing.pytest_plugin"]
    suite = [
        "--pyargs",
        "maskrcnn_plugin_kit.testing.suite",
        "-q",
        "-W",
        "error",
        "-k",
        "score or threads",
    ]
    what = ["--maskrcnn-backend", "fake", "--maskrcnn-model", str(tmp_path)]
    command = [*pytest_, *suite, *what]
    done = subprocess.run(
        command, cwd=tmp_path, env=install(), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout
    assert re.search(r"\b[4-9] passed, \d+ deselected in", done.stdout)
    for wrong in (
        command[:-2],
        [*command[:-1], str(tmp_path / "no")],
        [*pytest_, *suite, *what[2:]],
    ):
        done = subprocess.run(
            wrong, cwd=tmp_path, env=os.environ, capture_output=True, text=True, check=False
        )
        assert done.returncode == pytest.ExitCode.USAGE_ERROR
        assert "--maskrcnn-backend NAME and --maskrcnn-model DIR" in done.stderr


def test_doctor_finds_a_model_that_can_be_served() -> None:
    done = run("doctor", DEMO / "model", "--backend", "tensorpack")
    assert done.returncode == 0
    assert "as tensorpack sees it" in done.stdout
    assert "would be served by tensorpack" in done.stdout
    assert done.stderr == ""


def test_doctor_looks_at_every_device(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MASKRCNN_DEVICE", "cpu,cpu")
    assert "computed by openvino on cpu and cpu" in run("doctor", DEMO / "model").stdout
    monkeypatch.setenv("MASKRCNN_DEVICE", "cpu,cuda:999")
    assert "torch on cuda:999: there is no" in run("doctor", DEMO / "model").stderr


def test_doctor_says_what_an_unknown_folder_holds(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("")
    done = run("doctor", tmp_path)
    assert done.returncode == 1
    assert "notes.txt" in done.stderr


def test_doctor_says_that_a_folder_is_missing(tmp_path: Path) -> None:
    done = run("doctor", tmp_path / "absent")
    assert done.returncode == 1
    assert "no such folder" in done.stderr


def test_doctor_looks_at_a_file_without_a_traceback(tmp_path: Path) -> None:
    (tmp_path / "model.npz").write_bytes(b"no archive")
    for path in (tmp_path, tmp_path / "model.npz"):
        done = run("doctor", path)
        assert done.returncode == 1
        assert "Traceback" not in done.stderr


def test_doctor_survives_a_backend_that_raises(install: Install) -> None:
    """A stranger's plugin may raise anything; the others still say what they see."""
    source = """
from maskrcnn_server import hookimpl
from maskrcnn_plugin_kit.testing import FakeBackend

class Nervous(FakeBackend):
    name = "nervous"
    def probe(self, model_dir):
        raise RuntimeError("nervous")

@hookimpl
def register_backends(register):
    register(Nervous())
"""
    done = run("doctor", DEMO / "model", env=install(source))
    assert "as tensorpack sees it" in done.stdout
    assert "Traceback" not in done.stderr


def test_doctor_asks_one_backend_only(install: Install, tmp_path: Path) -> None:
    env = install()
    done = run("doctor", tmp_path, "--backend", "fake", env=env)
    assert done.returncode == 0
    assert "would be served by fake" in done.stdout
    assert_failed(run("doctor", tmp_path, "--backend", "no", env=env), "backend_not_selected")


def test_an_error_is_one_line(tmp_path: Path, png: bytes) -> None:
    (tmp_path / "a.png").write_bytes(png)
    done = run("predict", tmp_path / "a.png", "--model", tmp_path, "--backend", "absent")
    assert_failed(done, "backend_not_selected")
    assert re.search(r"installed: .*tensorpack", done.stderr)


def test_debug_shows_the_traceback(tmp_path: Path, png: bytes) -> None:
    (tmp_path / "a.png").write_bytes(png)
    done = run("--debug", "predict", tmp_path / "a.png", "--model", tmp_path, "--backend", "absent")
    assert done.returncode == 1
    assert "Traceback" in done.stderr
    assert "BackendNotSelected" in done.stderr


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("MASKRCNN_PORT", "http", "MASKRCNN_PORT=http"),
        ("MASKRCNN_SCORE_THRESHOLD", "2", "MASKRCNN_SCORE_THRESHOLD=2"),
        ("MASKRCNN_SCORE_TRESHOLD", "0.5", "the nearest is MASKRCNN_SCORE_THRESHOLD"),
    ],
)
def test_a_bad_setting_is_one_line(
    install: Install, tmp_path: Path, name: str, value: str, reason: str
) -> None:
    done = run("serve", "--model", tmp_path, env=install(**{name: value}))
    assert_failed(done, "invalid_setting")
    assert reason in done.stderr


def test_predict_answers_what_it_can_read(install: Install, tmp_path: Path, png: bytes) -> None:
    (tmp_path / "7.png").write_bytes(png)
    (tmp_path / "text.png").write_text("no image")
    results = tmp_path / "results.json"
    done = run(
        *("predict", tmp_path / "7.png", tmp_path / "text.png", tmp_path / "absent.png"),
        *("--model", tmp_path, "--backend", "fake", "--out", tmp_path / "out", "--json", results),
        env=install(),
    )
    assert_failed(done, "invalid_image")
    assert "2 of 3" in done.stderr
    assert "No such file" in " ".join(done.stdout.split())
    (result,) = json.loads(results.read_text())
    assert (result["image_id"], result["category_id"]) == (7, 1)
    with PIL.Image.open(tmp_path / "out/7.png") as overlay:
        assert overlay.size == (10, 8)


def test_predict_keeps_the_answers_to_images_of_the_same_name(
    install: Install, tmp_path: Path, png: bytes
) -> None:
    pictures = [tmp_path / folder / "a.png" for folder in "xy"]
    for picture in pictures:
        picture.parent.mkdir()
        picture.write_bytes(png)
    out = tmp_path / "out"
    done = run(
        "predict", *pictures, "--model", tmp_path, "--backend", "fake", "--out", out, env=install()
    )
    assert done.returncode == 0
    assert len(list(out.iterdir())) == 2


def test_predict_runs_the_model_that_comes_along(tmp_path: Path) -> None:
    """The one test here that starts TensorFlow."""
    results = tmp_path / "results.json"
    picture = DEMO / "images/shapes-1.png"
    model = ("--model", DEMO / "model", "--backend", "tensorpack")
    done = run("predict", picture, *model, "--json", results)
    assert done.returncode == 0, done.stderr
    found = json.loads(results.read_text())
    assert found
    assert all(0.05 <= result["score"] <= 1 for result in found)


def test_bench_times_the_stages(install: Install, tmp_path: Path, png: bytes) -> None:
    picture = tmp_path / "a.png"
    picture.write_bytes(png)
    arguments = ("bench", picture, "--runs", "1", "--model", tmp_path, "--backend", "fake")
    done = run(*arguments, env=install())
    assert done.returncode == 0, done.stderr
    for name in ("decode", "paste", "encode", "all but network"):
        assert name in done.stdout


def test_bench_of_an_image_that_is_absent_is_one_line(install: Install, tmp_path: Path) -> None:
    done = run(
        "bench", tmp_path / "no.png", "--model", tmp_path, "--backend", "fake", env=install()
    )
    assert done.returncode in (1, 2)
    assert "Traceback" not in done.stderr


def test_predict_where_nothing_can_be_written_is_one_line(
    install: Install, tmp_path: Path, png: bytes
) -> None:
    picture = tmp_path / "a.png"
    picture.write_bytes(png)
    arguments = ("predict", picture, "--model", tmp_path, "--backend", "fake")
    done = run(*arguments, "--json", tmp_path / "a.png/results.json", env=install())
    assert done.returncode != 0
    assert "Traceback" not in done.stderr


def test_predict_writes_a_line_for_each_image(install: Install, tmp_path: Path, png: bytes) -> None:
    picture = tmp_path / ("a" * 100 + ".png")
    picture.write_bytes(png)
    done = run("predict", picture, "--model", tmp_path, "--backend", "fake", env=install())
    assert f"{picture}: 1 instances" in done.stdout.splitlines()


def test_predict_shows_names_that_look_like_markup(
    install: Install, tmp_path: Path, png: bytes
) -> None:
    picture = tmp_path / "[red]a[" / "]b.png"
    picture.parent.mkdir()
    picture.write_bytes(png)
    done = run("predict", picture, "--model", tmp_path, "--backend", "fake", env=install())
    assert done.returncode == 0, done.stderr
    assert "[red]a[/]b.png" in done.stdout.replace("\n", "")


def test_doctor_looks_at_every_model_of_a_models_yaml(install: Install, tmp_path: Path) -> None:
    (tmp_path / "good").mkdir()
    models = tmp_path / "models.yaml"
    models.write_text("defaults: {backend: fake}\nmodels: {a: {model: good}, b: {model: bad}}")
    env = install()
    done = run("doctor", models, env=env)
    assert "good would be served by fake" in done.stdout
    assert "bad: no such folder" in done.stdout
    assert_failed(done, "invalid_model")
    assert "b would not be served" in done.stderr
    models.write_text("defaults: {backend: fake}\nmodels: {a: {model: good}}")
    assert run("doctor", models, env=env).returncode == 0

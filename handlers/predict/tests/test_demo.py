"""The first command that a new user runs."""

import re
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest

PROGRAM = [sys.executable, "-m", "maskrcnn_handlers"]
MODEL = (
    Path(__file__).parents[3] / "backends/tensorpack/maskrcnn_tensorpack/demo/model"
).as_posix()


def test_demo_draws_what_it_finds_and_names_the_next_command(tmp_path: Path) -> None:
    done = subprocess.run(
        [*PROGRAM, "demo", "--out", tmp_path / "demo.png"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "6 instances drawn in" in done.stdout
    assert (tmp_path / "demo.png").is_file()
    assert done.stdout.splitlines()[-1].startswith("next: python -m maskrcnn_handlers demo --keep")


def test_demo_refuses_an_image_before_it_starts_a_server(tmp_path: Path) -> None:
    (tmp_path / "notes.png").write_text("no image")
    for name, reason in (("notes.png", "notes.png"), ("absent.png", "no such file")):
        done = subprocess.run(
            [*PROGRAM, "demo", "--image", tmp_path / name],
            capture_output=True,
            text=True,
            check=False,
            cwd=tmp_path,
        )
        assert done.returncode == 1
        assert reason in done.stderr
        assert "starting a server" not in done.stdout


@pytest.mark.parametrize(
    "arguments",
    [("demo", "--keep"), ("serve", MODEL, "--backend", "tensorpack", "--port", "0")],
    ids=["demo", "serve"],
)
def test_the_last_line_is_the_address_to_open(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    log = tmp_path / "log"
    with (
        log.open("w") as said,
        subprocess.Popen(
            [*PROGRAM, *arguments], cwd=tmp_path, stdout=said, stderr=subprocess.STDOUT
        ) as process,
    ):
        try:
            page: re.Match[str] | None = None
            while page is None and process.poll() is None:
                time.sleep(0.05)
                page = re.search(r"(http://127\.0\.0\.1:\d+/)\n\Z", log.read_text())
            assert page is not None, log.read_text()
            assert "ready after" in log.read_text()
            assert httpx.get(page[1]).headers["content-type"].startswith("text/html")
        finally:
            process.terminate()
    assert process.returncode == 0
    with pytest.raises(httpx.ConnectError):
        httpx.get(page[1])

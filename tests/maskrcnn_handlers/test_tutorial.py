"""The tutorial, from top to bottom: moto plays AWS, and the tutorial's own server the endpoint."""

import contextlib
import doctest
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from maskrcnn_predict.child import running

pytestmark = pytest.mark.full

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/tutorial.md").read_text()
PROGRAMS = {
    "bash": ("bash", "-euo", "pipefail", "-c"),
    "python": (sys.executable, "-c"),
}
ELSEWHERE = ("python3 -m venv", "build_tools/build_and_push.sh")
"""How blocks begin that are not run here: they need a package index, and Docker."""
PORT = "8080"
AS_SHOWN = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


@dataclass(frozen=True)
class Block:
    """Code, and what the page says that it prints."""

    language: str
    code: str
    printed: str


def blocks(page: str) -> Iterator[Block]:
    found = re.findall(r"^```(\w+)\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    for (language, code), (after, text) in zip(found, [*found[1:], ("", "")], strict=True):
        if language != "text":
            yield Block(language, code, text if after == "text" else "...")


@pytest.mark.skipif(shutil.which("curl") is None, reason="a command of the tutorial is curl")
@pytest.mark.usefixtures("aws")
def test_every_command_does_what_the_page_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "backends").symlink_to(ROOT / "backends")
    scripts = str(Path(sys.executable).parent)
    monkeypatch.setenv("PATH", os.pathsep.join([scripts, os.environ["PATH"]]))
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.chdir(tmp_path)
    with contextlib.ExitStack() as stack:
        port = PORT
        for block in blocks(PAGE):
            if block.code.startswith(ELSEWHERE):
                continue
            if block.code.startswith("maskrcnn-server serve"):
                server = stack.enter_context(running(shlex.split(block.code)))
                port = server.url.rpartition(":")[2]
                monkeypatch.setenv("AWS_ENDPOINT_URL_SAGEMAKER_RUNTIME", server.url)
                continue
            code = block.code.replace(PORT, port)
            said = subprocess.run(
                [*PROGRAMS[block.language], code],
                capture_output=True,
                text=True,
                timeout=300,
                check=False,
            )
            assert said.returncode == 0, f"{block.code}\n{said.stderr}"
            shown = doctest.OutputChecker().check_output(block.printed, said.stdout, AS_SHOWN)
            assert shown, f"{block.code}\n{said.stdout}"
    assert block.code.startswith("rm -r tutorial drawn")
    assert [path.name for path in tmp_path.iterdir()] == ["backends"]


@pytest.mark.parametrize("page", ["README.md", "docs/tutorial.md"])
def test_what_is_installed_is_here(page: str) -> None:
    commands = re.findall(r"^pip install (.*)$", (ROOT / page).read_text(), re.MULTILINE)
    folders = [word for command in commands for word in shlex.split(command, comments=True)]
    assert folders
    for folder in folders:
        assert (ROOT / folder.partition("[")[0] / "setup.cfg").is_file(), folder

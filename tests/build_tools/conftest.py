"""Stand-ins for `docker` and `aws`, which write down how they were called, and servers."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from server_fixtures import encode, install, pixels, png, pool, start  # noqa: F401

ROOT = Path(__file__).parents[2]
STAND_IN = """#!{python}
import json, sys
name, arguments = {name!r}, sys.argv[1:]
said = sys.stdin.read() if "--password-stdin" in arguments else ""
with open({calls!r}, "a") as file:
    file.write(json.dumps([name, arguments, said]) + "\\n")
for words, (status, out, err) in {replies!r}.items():
    if " ".join(arguments).startswith(words):
        sys.stdout.write(out)
        sys.stderr.write(err)
        sys.exit(status)
"""
Reply = tuple[int, str, str]
"""Exit code, stdout, stderr."""


@dataclass(frozen=True)
class Shell:
    """Runs scripts of build_tools where only stand-ins and the system's programs are found."""

    folder: Path

    def add(self, name: str, **replies: Reply) -> None:
        """A program that answers 0 and nothing, but where its arguments begin as in `replies`."""
        program = self.folder / name
        words = {key.replace("__", "-").replace("_", " "): reply for key, reply in replies.items()}
        calls = str(self.folder / "calls")
        program.write_text(
            STAND_IN.format(python=sys.executable, name=name, calls=calls, replies=words)
        )
        program.chmod(0o755)

    def run(
        self, script: str, *arguments: str, **environ: str
    ) -> "subprocess.CompletedProcess[str]":
        """What the script prints and its exit code."""
        command = [str(ROOT / "build_tools" / script), *arguments]
        path = f"{self.folder}:{os.defpath}:/usr/sbin:/sbin"
        return subprocess.run(
            command,
            env={"PATH": path, "HOME": str(self.folder), **environ},
            capture_output=True,
            text=True,
            check=False,
        )

    def calls(self, name: str, *words: str) -> list[list[str]]:
        """The arguments of each call of a stand-in that begins with these words."""
        lines = (self.folder / "calls").read_text().splitlines()
        found = [(who, arguments) for who, arguments, _ in map(json.loads, lines)]
        return [a for who, a in found if who == name and a[: len(words)] == list(words)]

    def stdin(self, name: str) -> list[str]:
        """What a stand-in was told on standard input, where that was anything."""
        lines = (self.folder / "calls").read_text().splitlines()
        return [said for who, _, said in map(json.loads, lines) if who == name and said]


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    """A shell with no stand-in yet."""
    return Shell(tmp_path)


@pytest.fixture
def with_docker(shell: Shell) -> Callable[..., Shell]:
    """Gives the shell a `docker`, whose registry answers with a digest."""

    def make(**replies: Reply) -> Shell:
        shell.add("docker", **{"image_inspect": (0, "1500000000\n", ""), **replies})
        return shell

    return make

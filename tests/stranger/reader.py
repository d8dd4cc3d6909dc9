"""Somebody who does in a folder what a page of the documentation says."""

import contextlib
import os
import re
import signal
import subprocess
from pathlib import Path

from loopback import own_host

BLOCK = re.compile(r'^```(\w+)(?: title="([^"]+)")?\n(.*?)^```$', re.MULTILINE | re.DOTALL)
COMMAND = re.compile(r"^\$ (.*)\n((?:(?!\$ ).*\n)*)", re.MULTILINE)
FAILS = re.compile(r"^(error \(|failed |[0-9]+ failed)", re.MULTILINE)
PROGRAMS = {
    # With what is here already, and without an index.
    "pip": 'python -m pip "$@" --no-index --no-build-isolation --no-deps',
    "pytest": 'python -m pytest "$@"',
}


class Reader:
    """Writes the files of a page and runs what is written there, until it ends."""

    def __init__(self, folder: Path, environment: Path) -> None:
        for name, command in PROGRAMS.items():
            program = environment / "bin" / name
            program.write_text(f"#!/bin/sh\nexec {command}\n")
            program.chmod(0o755)
        self._folder = folder
        self._variables = {"PATH": f"{environment / 'bin'}:{os.environ['PATH']}"}
        self._started: list[int] = []

    def follow(self, page: Path) -> None:
        """Write or run every block of a page, in its order; blocks of bash are for its reader."""
        text = page.read_text().replace("127.0.0.1", own_host())
        blocks = BLOCK.findall(text)
        assert len(blocks) == len(re.findall(r"^```", text, re.MULTILINE)) / 2
        try:
            for block in blocks:
                self._do(*block)
        finally:
            self._end()

    def _do(self, language: str, title: str, text: str) -> None:
        if title:
            path = self._folder / title
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        elif language == "python":
            self._run("python", "-W", "error", "-c", text, fails=False)
        elif language != "bash":
            assert language == "console", f"a block of {language} needs a title"
            for command, expected in COMMAND.findall(text):
                said = self._run("bash", "-c", command, fails=bool(FAILS.search(expected)))
                pattern = re.escape(expected.strip()).replace(r"\.\.\.", ".*")
                assert re.search(pattern, said, re.DOTALL), f"$ {command}\n{said}"

    def _end(self) -> None:
        """Stop what still runs."""
        for group in self._started:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(group, signal.SIGTERM)

    def _run(self, *command: str, fails: bool) -> str:
        process = subprocess.Popen(
            command,
            cwd=self._folder,
            env=self._variables,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self._started.append(process.pid)
        said, _ = process.communicate(timeout=300)
        assert (process.returncode != 0) == fails, said
        return said

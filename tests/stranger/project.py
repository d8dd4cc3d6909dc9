"""A stranger's project, made by a command of ours and installed beside our wheels."""

import os
import subprocess
import sys
from pathlib import Path

Done = subprocess.CompletedProcess[str]
LONG_NAME = "a_name_of_many_long_word"


class Project:
    """A generated project, in an environment where it is installed."""

    def __init__(self, command: str, name: str, environment: Path, folder: Path) -> None:
        self.folder = folder
        self.environment = environment
        done = self.run("maskrcnn-server", command, name)
        assert done.returncode == 0, done.stderr
        self.folder /= f"maskrcnn-{name}"
        pip = [sys.executable, "-m", "pip", "--python", str(environment / "bin/python"), "install"]
        options = ["--no-deps", "--no-index", "--no-build-isolation", "--quiet"]
        subprocess.run([*pip, *options, str(self.folder)], check=True)

    def run(self, program: str, *arguments: object, **variables: str) -> Done:
        """What a program of the environment says, asked in the project's folder."""
        command = [str(self.environment / "bin" / program), *map(str, arguments)]
        return subprocess.run(
            command,
            cwd=self.folder,
            env={**os.environ, **variables},
            capture_output=True,
            text=True,
            check=False,
        )

    def module(self, name: str, *arguments: object) -> Done:
        return self.run("python", "-m", name, *arguments)

    def assert_it_passes_its_own_tests(self) -> None:
        done = self.module("pytest", "-q", "-p", "no:cacheprovider")
        assert done.returncode == 0, done.stdout
        assert "failed" not in done.stdout
        assert "skipped" not in done.stdout

    def assert_it_is_typed_strictly(self) -> None:
        done = self.module("mypy", "--strict")
        assert done.returncode == 0, done.stdout


def assert_formatted(made_by: Project, command: str, target: Path) -> None:
    """What a command writes is formatted, whatever its name."""
    for name in ("x", LONG_NAME):
        done = made_by.run("maskrcnn-server", command, name, target / name)
        assert done.returncode == 0, done.stderr
        for check in (["format", "--diff"], ["check"]):
            ruff = [sys.executable, "-m", "ruff", *check, "--no-cache", str(target / name)]
            done = subprocess.run(ruff, capture_output=True, text=True, check=False)
            assert done.returncode == 0, done.stdout

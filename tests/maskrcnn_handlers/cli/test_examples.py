"""The command lines that `--help` shows can be run."""

import shlex
from functools import cache
from pathlib import Path

import pytest
import typer

from maskrcnn_handlers.cli.main import EXAMPLES, program
from maskrcnn_server.extensions import Command
from maskrcnn_server.plugins import Plugins


@cache
def commands() -> dict[str, Command]:
    return dict(Plugins().commands())


@cache
def app() -> typer.core.TyperGroup:
    group = typer.main.get_command(program(Plugins()))
    assert isinstance(group, typer.core.TyperGroup)
    return group


def parse(line: str) -> str:
    """The name of the command that a line runs. Raises a usage error for what it does not take."""
    words = [word for word in shlex.split(line) if not word.startswith("MASKRCNN_")]
    assert words[0] == "maskrcnn-server"
    command = app().commands[words[1]]
    command.make_context(words[1], words[2:])
    return words[1]


def test_every_command_shows_an_example() -> None:
    assert [name for name, command in commands().items() if not command.examples] == []


@pytest.fixture(autouse=True)
def _files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a command looks for before it runs."""
    (tmp_path / "example/model").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("name", sorted(commands()))
def test_examples_are_command_lines_of_their_command(name: str) -> None:
    assert {parse(line) for line in commands()[name].examples} == {name}


@pytest.mark.parametrize("line", EXAMPLES)
def test_examples_of_the_program_are_command_lines(line: str) -> None:
    assert parse(line) in commands()


def test_a_wrong_example_is_noticed() -> None:
    with pytest.raises(Exception, match="--portt"):
        parse("maskrcnn-server serve --portt 1")

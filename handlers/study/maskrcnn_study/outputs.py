"""Checks of what a command is to write, before anything that takes its time."""

from collections.abc import Iterable
from pathlib import Path

from maskrcnn_server.errors import InvalidSetting


def check_target(path: Path) -> None:
    """Raises InvalidSetting if what is to be written is there already, or cannot be."""
    if path.exists():
        raise InvalidSetting(f"{path}: is there already; name another, or remove it")
    parent = next(parent for parent in path.absolute().parents if parent.exists())
    if not parent.is_dir():
        raise InvalidSetting(f"{path}: {parent} is a file, and a folder is needed")


def check_form(option: str, given: str, known: Iterable[str]) -> None:
    """Raises InvalidSetting, with the forms that are known, if the one that is given is not."""
    forms = sorted(set(known))
    if given not in forms:
        raise InvalidSetting(
            f"{option} {given}: installed backends write {', '.join(forms) or 'nothing'}"
        )

"""Errors of files that are not what a dialect reads."""

from pathlib import Path

from maskrcnn_network.checkpoints.kinds import kind
from maskrcnn_server.errors import InvalidModel


class Foreign(InvalidModel):
    """A checkpoint of another framework, or of another network."""


class Unreadable(InvalidModel):
    """A file that is recognised as something else than a checkpoint."""


class NoTensors(InvalidModel):
    """A file of PyTorch without the tensors of a network, such as an optimizer's."""


def unreadable(path: Path, reason: str) -> InvalidModel:
    """The error of a file that cannot be read: what the file is, if that is known, or `reason`."""
    found = kind(path)
    if found is None or found.backends:
        return InvalidModel(f"{path}: {reason}")
    return Unreadable(f"{path} {found.description}")

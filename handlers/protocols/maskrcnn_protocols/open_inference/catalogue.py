"""What the protocol tells about the server and its models."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import version
from typing import TYPE_CHECKING

from maskrcnn_protocols.open_inference.inference import IMAGE
from maskrcnn_protocols.open_inference.outputs import SHAPES
from maskrcnn_protocols.open_inference.tensors import BYTES
from maskrcnn_server.errors import ModelNotFound, UnavailableError

if TYPE_CHECKING:
    from maskrcnn_handlers.service import Service
    from maskrcnn_server.hosting.models import Hosted

VERSION = "1"
"""Version of every model: models have names, and no versions."""
EXTENSIONS = ("binary_tensor_data", "model_configuration", "statistics", "model_repository")
INPUTS = {IMAGE: (BYTES, [-1])}
"""Data type and shape of the input. UINT8 of shape [-1, -1, -1, 3] is read as well."""
CONFIG_TYPES = {"BYTES": "TYPE_STRING", "FP32": "TYPE_FP32", "INT64": "TYPE_INT64"}


class Catalogue:
    """The models of a service by the names that the protocol knows.

    `name` is the only model's, in place of its own. None: its own.
    """

    def __init__(self, service: Service, name: str | None = None) -> None:
        self._service = service
        self._name = name if service.models.is_single else None

    def target(self, name: str, number: str = "") -> str | None:
        """The service's name for a model. None: the only one.

        Raises ModelNotFound for another version than 1, or for another name than the only model's.
        """
        if number not in ("", VERSION):
            raise ModelNotFound(f"model {name}: no version {number[:40]!r}; there is {VERSION}")
        if self._name is None:
            return name
        if name != self._name:
            raise ModelNotFound(f"no model {name[:256]} is loaded (there are: {self._name})")
        return None

    def hosted(self) -> dict[str, Hosted]:
        """The models by name."""
        return {self._name or one.name: one for one in self._service.models.hosted()}

    def find(self, name: str, number: str = "") -> Hosted:
        """A model, without counting as a use of it. Raises ModelNotFound."""
        self.target(name, number)
        found = self.hosted().get(name)
        if found is None:
            known = ", ".join(sorted(self.hosted())[:8]) or "none"
            raise ModelNotFound(f"no model {name[:256]} is loaded (there are: {known})")
        return found

    def is_ready(self, name: str, number: str = "") -> bool:
        """Whether a model answers requests. Raises ModelNotFound."""
        return self.find(name, number).state()[0] == "ready"

    def check_ready(self) -> None:
        """Raise UnavailableError unless the server answers requests."""
        self._service.models.check()

    def is_server_ready(self) -> bool:
        """Whether the server answers requests."""
        try:
            self.check_ready()
        except UnavailableError:
            return False
        return True

    def server(self) -> dict[str, object]:
        """The server's metadata."""
        number = version("maskrcnn-server")
        return {"name": "maskrcnn-server", "version": number, "extensions": list(EXTENSIONS)}

    def metadata(self, name: str, number: str = "") -> dict[str, object]:
        """A model's metadata. Raises ModelNotFound, and what `Hosted.ready` raises."""
        self.find(name, number).ready()
        return {
            "name": name,
            "versions": [VERSION],
            "platform": "maskrcnn",
            "inputs": _tensors(INPUTS),
            "outputs": _tensors(SHAPES),
        }

    def config(self, name: str, number: str = "") -> dict[str, object]:
        """A model's configuration, as Triton has it. Raises what `metadata` raises."""
        self.find(name, number).ready()
        return {
            "name": name,
            "platform": "maskrcnn",
            "backend": "maskrcnn",
            "max_batch_size": 0,
            "input": _configured(INPUTS),
            "output": _configured(SHAPES),
        }

    def classes(self, name: str) -> list[str]:
        """The names of a model's classes. Raises what `metadata` raises."""
        return [one.name for one in self.find(name).ready().metadata.categories]

    def index(self, *, ready: bool = False) -> list[dict[str, str]]:
        """The models and their states; only those that are `ready`, if that is set."""
        entries = []
        for name, hosted in sorted(self.hosted().items()):
            state, reason = hosted.state()
            if state == "ready" or not ready:
                shown = "READY" if state == "ready" else "LOADING"
                entries.append(
                    {
                        "name": name,
                        "version": VERSION,
                        "state": "UNAVAILABLE" if state == "failed" else shown,
                        "reason": reason,
                    }
                )
        return entries


def _tensors(described: Mapping[str, tuple[str, list[int]]]) -> list[dict[str, object]]:
    return [
        {"name": name, "datatype": datatype, "shape": shape}
        for name, (datatype, shape) in described.items()
    ]


def _configured(described: Mapping[str, tuple[str, list[int]]]) -> list[dict[str, object]]:
    return [
        {"name": name, "data_type": CONFIG_TYPES.get(datatype, f"TYPE_{datatype}"), "dims": shape}
        for name, (datatype, shape) in described.items()
    ]

"""A request and its answer, as logs, metrics and traces see them: no content of either."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from maskrcnn_server.stopwatch import Lap


@dataclass(frozen=True, kw_only=True)
class Exchange:
    """Facts about a request that is answered."""

    request_id: str
    model: str = ""
    """Name of the model that was asked; empty if there is none of that name."""
    status: int
    code: str
    """Code of the error; empty if there was none."""
    seconds: float = 0.0
    stages: Mapping[str, float] = field(default_factory=dict)
    """Seconds by stage; a stage inside another counts for itself alone."""
    laps: Sequence[Lap] = ()
    """Passages through the stages."""
    bytes_in: int = 0
    bytes_out: int

    def server_timing(self) -> str:
        """Milliseconds of each stage, and of all (https://www.w3.org/TR/server-timing/)."""
        header = ""
        for name, seconds in self.stages.items():
            header += f"{name};dur={1000 * seconds:.3f}, "
        return f"{header}total;dur={1000 * self.seconds:.3f}"

    def fields(self) -> dict[str, object]:
        """Fields of its line of the log."""
        return {
            "request_id": self.request_id,
            "model": self.model,
            "status": self.status,
            "code": self.code,
            "duration_s": round(self.seconds, 6),
            "stages_s": {name: round(seconds, 6) for name, seconds in self.stages.items()},
            "bytes_in": self.bytes_in,
            "bytes_out": self.bytes_out,
        }

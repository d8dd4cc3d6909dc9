"""Counts and durations of this protocol's inferences, by model.

Source: Triton's docs/protocol/extension_statistics.md.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from maskrcnn_handlers.service import SERVER_TIMING

if TYPE_CHECKING:
    from maskrcnn_handlers.answer.reply import Reply

STAGES = {
    "queue": ("wait",),
    "compute_input": ("decode", "preprocess"),
    "compute_infer": ("network", "model"),
    "compute_output": ("encode", "paste"),
}
"""Stages of a request by the statistic that they are counted in."""
MAX_MODELS = 1000


@dataclass
class _Sum:
    count: int = 0
    ns: int = 0

    def add(self, ns: float) -> None:
        self.count += 1
        self.ns += int(ns)


@dataclass
class _Model:
    last_inference: int = 0
    images: int = 0
    sums: dict[str, _Sum] = field(
        default_factory=lambda: {name: _Sum() for name in ("success", "fail", *STAGES)}
    )


class Statistics:
    """Statistics of the inferences that `add` was told of. May be used from several threads."""

    def __init__(self) -> None:
        self._models: dict[str, _Model] = {}
        self._lock = threading.Lock()

    def add(self, model: str, reply: Reply, images: int) -> None:
        """Count an inference of so many images; 0 if it failed."""
        stages = _stages(reply.headers.get(SERVER_TIMING, ""))
        with self._lock:
            if model not in self._models and len(self._models) >= MAX_MODELS:
                return
            one = self._models.setdefault(model, _Model())
            total = 1e6 * stages.get("total", 0)
            if not images:
                one.sums["fail"].add(total)
                return
            one.last_inference = time.time_ns() // 1_000_000
            one.images += images
            one.sums["success"].add(total)
            for name, parts in STAGES.items():
                one.sums[name].add(1e6 * sum(stages.get(part, 0) for part in parts))

    def of(self, model: str) -> dict[str, object]:
        """The statistics of a model, as both transports write them."""
        with self._lock:
            one = self._models.get(model, _Model())
            sums = {name: {"count": each.count, "ns": each.ns} for name, each in one.sums.items()}
            return {
                "name": model,
                "version": "1",
                "last_inference": one.last_inference,
                "inference_count": one.images,
                "execution_count": one.sums["success"].count,
                "inference_stats": sums,
            }


def _stages(timing: str) -> Mapping[str, float]:
    """Milliseconds by stage, in a `Server-Timing` header."""
    return {name: float(ms) for name, ms in re.findall(r"([\w-]+);dur=([0-9.]+)", timing)}

"""Summary of many measured times."""

import math
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Summary:
    """Times in milliseconds; percentiles are values that were measured (nearest rank)."""

    count: int
    mean_ms: float
    p50_ms: float
    p90_ms: float
    p95_ms: float
    p99_ms: float
    max_ms: float


def summary(seconds: Sequence[float]) -> Summary:
    """Summary of at least one time."""
    times = sorted(1000 * time for time in seconds)
    ranks = (percentile(times, share) for share in (50, 90, 95, 99, 100))
    return Summary(len(times), math.fsum(times) / len(times), *ranks)


def percentile(ordered: Sequence[float], percent: float) -> float:
    """Smallest value that at least `percent` of the values do not exceed."""
    return ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)]

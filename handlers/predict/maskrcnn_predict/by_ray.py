"""Prediction on a Ray cluster, if maskrcnn-ray is installed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from maskrcnn_server.errors import InvalidSetting

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rich.console import Console

    from maskrcnn_predict.local import ModelSpec
    from maskrcnn_server.options import Options

MAX_WORKERS = 10_000


@dataclass(frozen=True)
class Fleet:
    """Workers that are asked for."""

    address: str | None
    """Address of a cluster, or `auto`."""
    workers: int
    cpus: float | None
    """Number of CPUs of a worker. None: its share of the cluster's."""
    gpus: float
    concurrency: int
    """Number of images of a part that a worker reads and predicts at a time."""


@dataclass(frozen=True)
class Results:
    """Where results go: a file, or a folder of Parquet files."""

    json_file: str | None
    parquet: str | None
    restart: bool
    """Whether the results of an earlier run are dropped."""


def checked(fleet: Fleet, parquet: str | None) -> Fleet:
    """The fleet. Raises InvalidSetting for flags that need `--ray`, without it."""
    if fleet.address is None:
        if parquet is not None:
            raise InvalidSetting("--parquet needs --ray")
        if (fleet.workers, fleet.cpus, fleet.gpus) != (1, None, 0):
            raise InvalidSetting("--workers, --cpus and --gpus need --ray")
    return fleet


def predict(
    console: Console,
    places: Sequence[str],
    spec: ModelSpec,
    options: Options,
    asked: Mapping[str, object],
    fleet: Fleet,
    results: Results,
) -> None:
    """Predict for all images that are not done.

    Raises InvalidSetting without maskrcnn-ray, or for results in no place or two, MaskRCNNError.
    """
    if (results.json_file is None) == (results.parquet is None):
        raise InvalidSetting("--ray needs --json FILE.json or --parquet FOLDER")
    try:
        from maskrcnn_ray import cluster, predicting
    except ImportError:
        raise InvalidSetting(
            "--ray: maskrcnn-ray is not installed: pip install maskrcnn-ray"
        ) from None
    with cluster.connected(fleet.address or cluster.AUTO):
        predicting.predict(console, places, spec, options, asked, fleet, results)

"""Reports of measurements: JSON, tables, a plot, and costs."""

import dataclasses
import os
import platform
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.table import Table

from maskrcnn_server.errors import InvalidSetting
from maskrcnn_server.machine import available_memory
from maskrcnn_server.optional import required
from maskrcnn_study.benchmark.load import Level
from maskrcnn_study.benchmark.samples import Summary
from maskrcnn_study.benchmark.stages import Stages

FORM = "maskrcnn-server bench 1"
"""Format of the JSON; the number changes when a key changes its meaning."""
EQUAL_COST = 1.02
"""Costs up to this factor of the lowest count as equal; then the lower latency wins."""
MAX_ERRORS = 0.01
"""Maximum share of failed requests in a load that may count as the best."""

MANY = 1_000_000
"""Number of images whose cost and time are told."""
MACHINES = 64
"""Number of machines, of which each does its share of them."""


@dataclass(frozen=True)
class Run:
    """Result of one load, and the setup of the server."""

    level: Level
    max_batch: int | None = None
    """Maximum number of images in one call of the network. None: as the server is set."""


@dataclass(frozen=True)
class Report:
    """All measurements of one call of `bench`."""

    pictures: Sequence[str]
    target: str
    """URL, or model that was served."""
    stages: Stages | None
    runs: Sequence[Run]
    price_per_hour: float | None = None


def cost_per_1000(price_per_hour: float, images_per_s: float) -> float | None:
    """Cost of 1,000 images on a machine with this hourly price. None: no images."""
    return 1000 * price_per_hour / (3600 * images_per_s) if images_per_s else None


def best(runs: Sequence[Run]) -> Run | None:
    """The run with the lowest cost per image; among near equals, the one with the lowest latency.

    Runs with more than one failed request in a hundred do not count.
    """
    fit = [
        run
        for run in runs
        if run.level.good and run.level.good >= (1 - MAX_ERRORS) * run.level.requests
    ]
    most = max((run.level.goodput_per_s for run in fit), default=0.0)
    cheap = [run for run in fit if run.level.goodput_per_s * EQUAL_COST >= most]
    return min(cheap, key=_median, default=None)


def as_json(report: Report) -> dict[str, Any]:
    """The report as JSON values; times are in milliseconds where the key ends with `_ms`."""
    content: dict[str, Any] = {
        "form": FORM,
        "date": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "machine": machine(),
        "target": report.target,
        "pictures": list(report.pictures),
        "stages": None if report.stages is None else dataclasses.asdict(report.stages),
        "load": [
            dataclasses.asdict(run.level) | {"max_batch": run.max_batch} for run in report.runs
        ],
    }
    if report.price_per_hour is not None:
        content["price"] = _price(report.runs, report.price_per_hour)
    return content


def machine() -> dict[str, Any]:
    """Description of this machine."""
    return {
        "system": f"{platform.system()} {platform.machine()}",
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gb": round(available_memory() / 1e9, 1),
        "python": platform.python_version(),
    }


def stages_table(stages: Stages, title: str) -> Table:
    """Table with a row per stage."""
    table = Table(title=title, title_justify="left")
    for column in ("stage", "count", "median ms", "90 % ms", "99 % ms", "largest ms"):
        table.add_column(column, justify="left" if column == "stage" else "right")
    parts = {f"network: {name}": times for name, times in stages.parts.items()}
    for name, times in {**stages.times, **parts}.items():
        values = (times.p50_ms, times.p90_ms, times.p99_ms, times.max_ms)
        table.add_row(name, str(times.count), *(f"{value:.2f}" for value in values))
    return table


def load_table(runs: Sequence[Run], price_per_hour: float | None) -> Table:
    """Table with a row per load."""
    title = "under load (ping: the longest; MB: the most)"
    table = Table(title=title, title_justify="left")
    columns = ["load", "batch", "good/s", "p50 ms", "p90 ms", "p99 ms", "errors", "ping ms"]
    columns += ["cores", "MB"] + (["per 1,000"] if price_per_hour is not None else [])
    for column in columns:
        table.add_column(column, justify="left" if column == "load" else "right", no_wrap=True)
    for run in runs:
        level = run.level
        used = ("-", "-")
        if level.server is not None:
            used = (f"{level.server.cpu_cores:.2f}", f"{level.server.peak_rss_mb:.0f}")
        cells = [
            load_name(level),
            "-" if run.max_batch is None else str(run.max_batch),
            f"{level.goodput_per_s:.2f}",
            *_times(level.latency),
            ", ".join(f"{count} {kind}" for kind, count in level.errors.items()) or "0",
            "-" if level.ping is None else f"{level.ping.max_ms:.0f}",
            *used,
        ]
        if price_per_hour is not None:
            cost = cost_per_1000(price_per_hour, level.goodput_per_s)
            cells.append("-" if cost is None else f"{cost:.4g}")
        table.add_row(*cells)
    return table


def load_name(level: Level) -> str:
    """Name of a load in tables."""
    if level.loop == "closed":
        return f"{level.concurrency} client{'' if level.concurrency == 1 else 's'}"
    return f"{level.rate:g}/s, {level.arrivals}"


def price_line(runs: Sequence[Run], price_per_hour: float) -> str:
    """Sentences about the lowest cost of 1,000 images, and what very many take."""
    chosen = best(runs)
    cost = None if chosen is None else cost_per_1000(price_per_hour, chosen.level.goodput_per_s)
    if chosen is None or cost is None:
        return "no load was answered with less than 1 % of errors: there is no price"
    batch = "" if chosen.max_batch is None else f", batches of {chosen.max_batch} at most"
    hours = MANY / chosen.level.goodput_per_s / 3600
    return (
        f"1,000 images cost {cost:.4g} at {price_per_hour:g} an hour, "
        f"with {load_name(chosen.level)}{batch}: {chosen.level.goodput_per_s:.2f} a second\n"
        f"{MANY:,} images: {MANY / 1000 * cost:.4g}, in {hours:,.1f} hours on 1 machine, "
        f"{hours / MACHINES:,.1f} on {MACHINES}"
    )


def plot(runs: Sequence[Run], file: Path) -> None:
    """Draw latency against throughput. Raises InvalidSetting without matplotlib, and OSError."""
    matplotlib = required("matplotlib.figure", "maskrcnn-server[bench]")
    figure = matplotlib.Figure(figsize=(7, 4.5), layout="constrained")
    axes = figure.subplots()
    for (name, lines), colour in zip(_lines(runs).items(), _colours(), strict=False):
        points = [(run.level.goodput_per_s, run.level) for run in lines if run.level.latency]
        rates = [rate for rate, _ in points]
        medians = [level.latency.p50_ms for _, level in points if level.latency]
        slow = [level.latency.p99_ms for _, level in points if level.latency]
        axes.plot(rates, medians, "o-", color=colour, label=f"{name}, median")
        axes.plot(rates, slow, "^:", color=colour, label=f"{name}, 99 %")
        for (rate, level), median in zip(points, medians, strict=True):
            text = f"{level.concurrency or level.rate:g}"
            axes.annotate(text, (rate, median), (4, 4), textcoords="offset points")
    axes.set(xlabel="good answers a second", ylabel="latency, ms")
    axes.set_xlim(left=0)
    axes.set_ylim(bottom=0)
    axes.grid(alpha=0.3)
    if runs:
        axes.legend()
    try:
        figure.savefig(file)
    except ValueError as error:
        raise InvalidSetting(f"--plot {file}: {error}") from None


def _lines(runs: Sequence[Run]) -> Mapping[str, Sequence[Run]]:
    lines: dict[str, list[Run]] = {}
    for run in runs:
        name = "clients" if run.level.loop == "closed" else "arrivals a second"
        batch = "" if run.max_batch is None else f", batch {run.max_batch}"
        lines.setdefault(name + batch, []).append(run)
    return lines


def _colours() -> Iterator[str]:
    return (f"C{number}" for number in range(10))


def _price(runs: Sequence[Run], per_hour: float) -> dict[str, Any]:
    chosen = best(runs)
    return {
        "per_hour": per_hour,
        "per_1000_images": [cost_per_1000(per_hour, run.level.goodput_per_s) for run in runs],
        "best": None
        if chosen is None
        else {
            "concurrency": chosen.level.concurrency,
            "rate": chosen.level.rate,
            "max_batch": chosen.max_batch,
            "per_1000_images": cost_per_1000(per_hour, chosen.level.goodput_per_s),
        },
    }


def _median(run: Run) -> float:
    return run.level.latency.p50_ms if run.level.latency else float("inf")


def _times(times: Summary | None) -> tuple[str, str, str]:
    if times is None:
        return "-", "-", "-"
    return f"{times.p50_ms:.1f}", f"{times.p90_ms:.1f}", f"{times.p99_ms:.1f}"


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()

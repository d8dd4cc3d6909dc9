"""`maskrcnn-server predict --ray`"""

from __future__ import annotations

import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.markup import escape

from maskrcnn_predict import outputs
from maskrcnn_predict.progress import counting
from maskrcnn_predict.sources import sources
from maskrcnn_ray import cluster, formats, parts, stores
from maskrcnn_ray.pool import Pool
from maskrcnn_ray.work import Item, Task
from maskrcnn_server.errors import InvalidImage

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import numpy as np
    from numpy.typing import NDArray
    from rich.console import Console

    from maskrcnn_predict.by_ray import Fleet, Results
    from maskrcnn_predict.local import ModelSpec
    from maskrcnn_ray.formats import Format
    from maskrcnn_server.options import Options

LINES_SUFFIX = ".parts"
"""End of the name of the folder or prefix of JSON lines."""


def predict(
    console: Console,
    places: Sequence[str],
    spec: ModelSpec,
    options: Options,
    asked: Mapping[str, Any],
    fleet: Fleet,
    results: Results,
) -> None:
    """Predict for all images that are not done. Raises MaskRCNNError."""
    output = None if results.json_file is None else outputs.output(results.json_file)
    found = _parts(results, asked)
    if results.restart:
        found.clear()
    done = found.done()
    listing = _Listing(places, done)
    failed = 0
    with counting(console, "predicting", None) as count:
        resources = cluster.share(fleet.workers, fleet.cpus, fleet.gpus)
        settings = spec.settings().model
        threads = settings.threads or max(1, int(resources.cpus))
        spec = replace(spec, address=_everywhere(settings.address), threads=threads)

        def say(what: str) -> None:
            console.print(f"[yellow]{escape(what)}[/]")

        console.print(escape(f"{fleet.workers} workers, each with {resources}"))
        pool = Pool(Task(spec, options, found, fleet.concurrency), fleet.workers, resources, say)
        for outcome in pool.outcomes(listing):
            for name, reason in outcome.failures:
                console.print(f"[red]{escape(f'{name}: {reason}')}[/]")
            failed += len(outcome.failures)
            console.print(f"{outcome.images} images, {outcome.instances} instances")
            for _ in range(outcome.count):
                count()
    found.tidy()
    if output is not None:
        with tempfile.TemporaryDirectory() as folder:
            is_here = isinstance(found.store, stores.Folder)
            near = found if is_here else found.copied(Path(folder))
            joined = output.finish(near.lines)
        console.print(f"{joined.images} images, {joined.results} instances")
    if listing.skipped:
        console.print(f"{listing.skipped} of {listing.seen} images were done already")
    if not listing.seen:
        raise InvalidImage(f"no images at {', '.join(places)}")
    if failed:
        raise InvalidImage(f"{failed} of {listing.seen} images failed")


def _parts(results: Results, asked: Mapping[str, Any]) -> parts.Parts:
    """The parts, as they are there. Raises InvalidSetting."""
    form: Format
    if results.parquet is not None:
        place, form = results.parquet, formats.parquet()
    else:
        place = str(results.json_file).removesuffix(outputs.SUFFIX) + LINES_SUFFIX
        form = formats.JsonLines()
    return parts.Parts(stores.store(place), form, asked, int(time.time()))


class _Listing:
    """Images that are not done, counted as they are listed."""

    def __init__(self, places: Sequence[str], done: NDArray[np.uint64]) -> None:
        self._places, self._done = places, done
        self.seen = self.skipped = 0

    def __iter__(self) -> Iterator[Item]:
        for source in sources(self._places):
            self.seen += 1
            name = _everywhere(source.name)
            wanted = parts.done_key(name, source.version)
            place = int(self._done.searchsorted(wanted))
            if place < len(self._done) and self._done[place] == wanted:
                self.skipped += 1
            else:
                yield Item(name, source.image_id, source.version)


def _everywhere(place: str) -> str:
    """A path or an address that means the same in another working directory."""
    return place if "://" in place or not Path(place).exists() else str(Path(place).absolute())

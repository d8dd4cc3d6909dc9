"""What became of the images of one call of `predict`, and what is written in the end."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

from rich.console import Console
from rich.markup import escape

from maskrcnn_predict import geo, shards
from maskrcnn_predict.drawings import Drawings
from maskrcnn_predict.joining import Joined
from maskrcnn_predict.journal import Journal
from maskrcnn_predict.outputs import Output
from maskrcnn_predict.predictors import ImageResult
from maskrcnn_predict.shards import Shard
from maskrcnn_predict.sources import Source, count, keep_inputs, problem, sources
from maskrcnn_server.errors import InvalidImage, InvalidSetting, MaskRCNNError

Item: TypeAlias = tuple[Source, Path | None]
"""An image, and the file for its drawing."""


@dataclass
class Run:
    """Images of one call of the command, and what became of them."""

    console: Console
    drawings: Drawings | None
    shard: Shard
    journal: Journal | None = None
    names: set[str] = field(default_factory=set)
    skipped: int = 0
    failures: int = 0

    def todo(self, places: Sequence[str]) -> Iterator[Item]:
        """Each image that is not done, once, and where to draw it.

        A file that is no image is counted as failed here, and needs no model.
        """
        for source in sources(places, self.shard.has):
            if source.name in self.names:
                continue
            self.names.add(source.name)
            place = None if self.drawings is None else self.drawings.place(source.name)
            if (wrong := problem(source.name)) is not None:
                self.add(source, wrong)
            elif self.journal is not None and self.journal.has(source):
                self.skipped += 1
            else:
                yield source, place

    def total(self, places: Sequence[str]) -> int | None:
        """Number of images that `todo` gives, at most, for a bar; None: nobody knows yet."""
        is_done = (lambda _: False) if self.journal is None else self.journal.has
        return count(places, self.shard.has, is_done) if self.console.is_terminal else None

    def add(self, source: Source, result: ImageResult | MaskRCNNError) -> None:
        """Print the result of an image, and keep it."""
        if isinstance(result, MaskRCNNError):
            self.console.print(f"[red]{escape(f'{source.name}: {result.message}')}[/]")
            self.failures += 1
            if self.journal is not None:
                self.journal.fail(source, result)
            return
        self.console.print(f"{escape(source.name)}: {len(result)} instances")
        if self.journal is not None:
            self.journal.add(source, result.to_coco(source.image_id), result.notes)

    def end(self, places: Sequence[str]) -> None:
        """Raises InvalidImage if there were no images, or some failed."""
        if self.skipped:
            self.console.print(f"{self.skipped} of {len(self.names)} images were done already")
        if not self.names and self.shard == shards.WHOLE:
            raise InvalidImage(f"no images at {', '.join(places)}")
        if self.failures:
            raise InvalidImage(f"{self.failures} of {len(self.names)} images failed")


def report(console: Console, joined: Joined) -> None:
    """Say what was noticed as results were joined."""
    if joined.renamed:
        said = f"{joined.renamed} images share their ids: their paths are their ids"
        console.print(f"[yellow]{escape(said)}[/]")


def join(
    console: Console, output: Output, asked: Mapping[str, object], places: Sequence[str]
) -> None:
    """Join the results of all shards. Raises InvalidImage if some are missing or failed."""
    joined, missing = output.join(asked, sources(places))
    report(console, joined)
    console.print(f"{joined.images} images, {joined.results} instances")
    if missing or joined.failed:
        raise InvalidImage(
            f"{joined.failed} images failed, and {missing} are not done: run their shards again"
        )


def check_geojson(path: Path | None, json_file: str | None, places: Sequence[str]) -> None:
    """Raises InvalidSetting if the file for GeoJSON cannot be written."""
    if path is None:
        return
    if json_file is None:
        raise InvalidSetting("--geojson needs --json FILE.json, and no --shard or --join")
    geo.check()
    results = Path(json_file)
    taken = [*places, str(results.with_suffix(".jsonl"))]
    keep_inputs({"json": results, "geojson": path}, taken)


def write_geojson(console: Console, path: Path | None, journal: Journal) -> None:
    """Write GeoJSON, if there is a file for it, and name the images that are no rasters."""
    if path is None:
        return
    for name in geo.write(path, journal.lines()):
        said = f"{name}: it does not say where on the earth it is; it is not in {path}"
        console.print(f"[yellow]{escape(said)}[/]")

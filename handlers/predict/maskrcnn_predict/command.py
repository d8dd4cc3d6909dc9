"""`maskrcnn-server predict`"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Annotated, TypeAlias

import typer
from rich.console import Console
from rich.markup import escape

from maskrcnn_handlers.cli.options import BackendName, ModelOption
from maskrcnn_predict import by_ray, geo, outputs, shards, targets, tiled, tracked
from maskrcnn_predict.drawings import Drawings
from maskrcnn_predict.joining import Joined
from maskrcnn_predict.journal import Journal
from maskrcnn_predict.local import ModelSpec
from maskrcnn_predict.options import (
    Concurrency,
    Endpoint,
    Images,
    Profile,
    Region,
    Restart,
    ScoreThreshold,
    Url,
)
from maskrcnn_predict.outputs import Output
from maskrcnn_predict.predictors import ImageResult, Predictor
from maskrcnn_predict.run import each, predictor_in_process, predictor_of
from maskrcnn_predict.shards import Shard
from maskrcnn_predict.sources import Source, check, count, keep_inputs, problem, sources
from maskrcnn_server.errors import InvalidImage, InvalidSetting, MaskRCNNError
from maskrcnn_server.options import Options

Item: TypeAlias = tuple[Source, Path | None]
"""An image, and the file for its drawing."""


def predict(
    places: Images,
    out: Annotated[
        Path | None, typer.Option(help="Folder for a drawing of each result (PNG).")
    ] = None,
    json_file: Annotated[
        str | None,
        typer.Option("--json", help="File or s3:// address for all results, in COCO's format."),
    ] = None,
    geojson: Annotated[
        Path | None,
        typer.Option(help="File for the instances in georeferenced rasters, in degrees (GeoJSON)."),
    ] = None,
    score_threshold: ScoreThreshold = None,
    model: ModelOption = None,
    backend: BackendName = None,
    url: Url = None,
    endpoint: Endpoint = None,
    concurrency: Concurrency = 4,
    restart: Restart = False,
    shard: Annotated[
        str | None,
        typer.Option(
            metavar="I/N",
            help="Do only the I-th (from 0) of N shares of the images. auto: the array job's.",
        ),
    ] = None,
    join: Annotated[
        bool, typer.Option("--join", help="Predict nothing; join the results of all shards.")
    ] = False,
    tile: Annotated[
        str | None,
        typer.Option(metavar="WxH", help="Cut images into tiles of this size, such as 512x512."),
    ] = None,
    overlap: Annotated[
        float | None,
        typer.Option(help="Share of a tile that its neighbours have, too: 0 to 0.8 (0.25)."),
    ] = None,
    overview: Annotated[
        bool, typer.Option(help="Look at the whole image, too, for what is larger than a tile.")
    ] = False,
    ray: Annotated[
        str | None,
        typer.Option(
            metavar="ADDRESS",
            help="Predict on a Ray cluster. auto: this machine's, or one that is started on it.",
        ),
    ] = None,
    workers: Annotated[
        int, typer.Option(min=1, max=by_ray.MAX_WORKERS, help="Number of workers on the cluster.")
    ] = 1,
    gpus: Annotated[float, typer.Option(min=0, help="Number of GPUs of each worker.")] = 0,
    cpus: Annotated[
        float | None,
        typer.Option(min=0.1, help="Number of CPUs of each worker (default: its share of all)."),
    ] = None,
    parquet: Annotated[
        str | None,
        typer.Option(help="With --ray: folder or s3:// prefix for results as Parquet files."),
    ] = None,
    track: Annotated[
        bool, typer.Option("--track", help="Follow the instances of a clip; --out is a clip, too.")
    ] = False,
    fps: Annotated[
        float | None,
        typer.Option(min=0.01, max=1000, help="Frames a second of the clip to look at (all)."),
    ] = None,
    mots: Annotated[
        Path | None, typer.Option(help="File for the tracks as MOTS' text, with --track.")
    ] = None,
    region: Region = None,
    profile: Profile = None,
) -> None:
    """Find the instances in images, with a model in this process or one that is served.

    With --json FILE.json, results are kept in FILE.jsonl as they come, and the same command resumes
    an interrupted run: it skips images that are done and have not changed. An image that cannot be
    read is reported, the others are done, and the exit code is 1.

    With --shard, several processes or machines share the work; each keeps its own lines. Then the
    same command with --join in place of --shard writes FILE.json.

    With --ray, workers on the machines of a cluster share the work. What is done is kept in parts,
    in the folder FILE.parts or the one of --parquet, and the same command resumes.

    With --track, the image is a clip: --out CLIP.mp4 draws its tracks, and --json FILE.json has
    them in YouTube-VIS' format.

    With --tile, images of any size are cut into tiles that overlap; what several tiles show of an
    instance becomes one again.
    """
    console = Console(soft_wrap=True)
    following = _following(places, (out, json_file, mots), fps, score_threshold, is_on=track)
    output = None if json_file is None or track else outputs.output(json_file)
    share = _share(shard, output, join=join)
    whole = output is not None and share is None and not join
    _check_geojson(geojson, json_file if whole else None, places)
    fleet = by_ray.checked(by_ray.Fleet(ray, workers, cpus, gpus, concurrency), parquet)
    for note in [] if track else check(places):
        console.print(f"[yellow]{escape(note)}[/]")
    target = targets.named(url, endpoint, model)
    spec = ModelSpec(address=model, backend=backend)
    settings = spec.settings()
    asked: dict[str, object] = {"target": str(target), "score_threshold": score_threshold}
    tiling = tiled.asked(tile, overlap, overview=overview)
    asked |= {} if tiling is None else {"tiling": [*tiling.tile, tiling.overlap, tiling.overview]}
    opening = partial(predictor_of, console, target, backend, region, profile)
    if target.kind == "model":
        asked["mask_threshold"] = settings.model.mask_threshold
        opening = partial(predictor_in_process, console, spec, concurrency)
    others = {"geojson": geojson, "tile": tile, "shard": shard, "join": join}
    if following is not None:
        _alone("track", **others, ray=ray, restart=restart)
        tracked.track(console, following, opening, concurrency, settings.max_image_pixels)
        return
    if join and output is not None:
        _join(console, output, asked, places)
        return
    if ray is not None:
        _alone("ray", **others, url=url, endpoint=endpoint, out=out)
        by_ray.predict(
            console,
            places,
            spec,
            Options(score_threshold=score_threshold),
            asked,
            fleet,
            by_ray.Results(json_file, parquet, restart),
        )
        return

    def predicted(predictor: Predictor, item: Item) -> ImageResult:
        source, place = item
        options = Options(score_threshold=score_threshold, masks=bool(out or output))
        if tiling is None:
            result = predictor.predict(source.read(), options)
        else:
            limit, drawn = settings.max_image_pixels, place is not None
            result = tiled.predicted(predictor, source, tiling, options, limit, is_drawn=drawn)
        if place is not None:
            result.draw().save(place)
        return result

    with ExitStack() as stack:
        run = _Run(console, None if out is None else Drawings(out), share or shards.WHOLE)
        if output is not None:
            journal = output.journal(share, asked, restart=restart)
            run.journal = stack.enter_context(journal)
        todo, total = run.todo(places), run.total(places)
        pairs = each(console, "predicting", opening, predicted, todo, concurrency, total)
        for (source, _), result in pairs:
            run.add(source, result)
        if run.journal is not None and output is not None and share is None:
            _report(console, output.finish(run.journal.lines))
            _write_geojson(console, geojson, run.journal)
    run.end(places)


def _alone(option: str, **others: object) -> None:
    """Refuse options that do not go with another."""
    given = [f"--{name}" for name, value in others.items() if value not in (None, False)]
    if given:
        raise InvalidSetting(f"--{option} does not go with {', '.join(given)}")


def _share(shard: str | None, output: Output | None, *, join: bool) -> Shard | None:
    share = None if shard is None else shards.named(shard)
    if (share is not None or join) and (output is None or (share is not None and join)):
        raise InvalidSetting("--shard and --join need --json FILE.json, and exclude each other")
    return share


@dataclass
class _Run:
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


def _join(
    console: Console, output: Output, asked: Mapping[str, object], places: Sequence[str]
) -> None:
    """Join the results of all shards. Raises InvalidImage if some are missing or failed."""
    joined, missing = output.join(asked, sources(places))
    _report(console, joined)
    console.print(f"{joined.images} images, {joined.results} instances")
    if missing or joined.failed:
        raise InvalidImage(
            f"{joined.failed} images failed, and {missing} are not done: run their shards again"
        )


def _following(
    places: Sequence[str],
    files: tuple[Path | None, str | None, Path | None],
    fps: float | None,
    score_threshold: float | None,
    *,
    is_on: bool,
) -> tracked.Tracking | None:
    """What to do with a clip. None: images are no clips."""
    if is_on:
        return tracked.tracking(places, files, fps, score_threshold)
    if fps is not None or files[2] is not None:
        raise InvalidSetting("--fps and --mots need --track")
    return None


def _check_geojson(path: Path | None, json_file: str | None, places: Sequence[str]) -> None:
    if path is None:
        return
    if json_file is None:
        raise InvalidSetting("--geojson needs --json FILE.json, and no --shard or --join")
    geo.check()
    results = Path(json_file)
    taken = [*places, str(results.with_suffix(".jsonl"))]
    keep_inputs({"json": results, "geojson": path}, taken)


def _write_geojson(console: Console, path: Path | None, journal: Journal) -> None:
    if path is None:
        return
    for name in geo.write(path, journal.lines()):
        said = f"{name}: it does not say where on the earth it is; it is not in {path}"
        console.print(f"[yellow]{escape(said)}[/]")


def _report(console: Console, joined: Joined) -> None:
    if joined.renamed:
        said = f"{joined.renamed} images share their ids: their paths are their ids"
        console.print(f"[yellow]{escape(said)}[/]")

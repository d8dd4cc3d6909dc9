"""`maskrcnn-server predict`"""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape

from maskrcnn_handlers.cli.options import BackendName, ModelOption
from maskrcnn_predict import by_ray, flags, outputs, shards, targets, tiled, tracked
from maskrcnn_predict.drawings import Drawings
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
from maskrcnn_predict.reporting import Item, Run, check_geojson, join, report, write_geojson
from maskrcnn_predict.run import each, predictor_in_process, predictor_of
from maskrcnn_predict.shards import Shard
from maskrcnn_predict.sources import check
from maskrcnn_server.errors import InvalidSetting
from maskrcnn_server.options import Options

if TYPE_CHECKING:
    from maskrcnn_tiles.predicting import Tiling


def predict(
    places: Images,
    out: flags.Out = None,
    json_file: flags.JsonFile = None,
    geojson: flags.GeoJson = None,
    score_threshold: ScoreThreshold = None,
    model: ModelOption = None,
    backend: BackendName = None,
    url: Url = None,
    endpoint: Endpoint = None,
    concurrency: Concurrency = 4,
    restart: Restart = False,
    shard: flags.ShardFlag = None,
    join_shards: flags.Join = False,
    tile: flags.TileFlag = None,
    overlap: flags.Overlap = None,
    overview: flags.Overview = False,
    ray: flags.Ray = None,
    workers: flags.Workers = 1,
    gpus: flags.Gpus = 0,
    cpus: flags.Cpus = None,
    parquet: flags.Parquet = None,
    track: flags.Track = False,
    fps: flags.Fps = None,
    mots: flags.Mots = None,
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
    share = _share(shard, output, join=join_shards)
    whole = output is not None and share is None and not join_shards
    check_geojson(geojson, json_file if whole else None, places)
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
    others = {"geojson": geojson, "tile": tile, "shard": shard, "join": join_shards}
    if following is not None:
        _alone("track", **others, ray=ray, restart=restart)
        tracked.track(console, following, opening, concurrency, settings.max_image_pixels)
    elif join_shards and output is not None:
        join(console, output, asked, places)
    elif ray is not None:
        _alone("ray", **others, url=url, endpoint=endpoint, out=out)
        results = by_ray.Results(json_file, parquet, restart)
        options = Options(score_threshold=score_threshold)
        by_ray.predict(console, places, spec, options, asked, fleet, results)
    else:
        run = Run(console, None if out is None else Drawings(out), share or shards.WHOLE)
        with ExitStack() as stack:
            if output is not None:
                run.journal = stack.enter_context(output.journal(share, asked, restart=restart))
            options = Options(score_threshold=score_threshold, masks=bool(out or output))
            one = _One(options, tiling, settings.max_image_pixels)
            _each(run, places, opening, one, concurrency)
            if run.journal is not None and output is not None and share is None:
                report(console, output.finish(run.journal.lines))
                write_geojson(console, geojson, run.journal)
        run.end(places)


@dataclass(frozen=True)
class _One:
    """What is asked of one image."""

    options: Options
    tiling: "Tiling | None"
    max_pixels: int

    def predicted(self, predictor: Predictor, item: Item) -> ImageResult:
        """The result of an image, which is drawn if there is a place for it."""
        source, place = item
        if self.tiling is None:
            result = predictor.predict(source.read(), self.options)
        else:
            drawn = place is not None
            result = tiled.predicted(
                predictor, source, self.tiling, self.options, self.max_pixels, is_drawn=drawn
            )
        if place is not None:
            result.draw().save(place)
        return result


def _each(
    run: Run,
    places: Sequence[str],
    opening: Callable[[], AbstractContextManager[Predictor]],
    one: _One,
    concurrency: int,
) -> None:
    """Predict for every image that is not done."""
    todo, total = run.todo(places), run.total(places)
    pairs = each(run.console, "predicting", opening, one.predicted, todo, concurrency, total)
    for (source, _), result in pairs:
        run.add(source, result)


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

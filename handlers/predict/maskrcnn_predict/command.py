"""`maskrcnn-server predict`"""

from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

from maskrcnn_handlers.cli.options import (
    BackendName,
    Concurrency,
    Endpoint,
    Images,
    ModelOption,
    Profile,
    Region,
    Restart,
    ScoreThreshold,
    Url,
)
from maskrcnn_predict import targets
from maskrcnn_predict.drawings import Drawings
from maskrcnn_predict.journal import Journal
from maskrcnn_predict.predictors import ImageResult, Predictor
from maskrcnn_predict.run import each, predictor_in_process, predictor_of
from maskrcnn_predict.sources import Source, sources
from maskrcnn_server import settings as environment
from maskrcnn_server.errors import InvalidImage, InvalidSetting, MaskRCNNError


def predict(
    places: Images,
    out: Annotated[
        Path | None, typer.Option(help="Folder for a drawing of each result (PNG).")
    ] = None,
    json_file: Annotated[
        Path | None, typer.Option("--json", help="File for all results, in COCO's format.")
    ] = None,
    score_threshold: ScoreThreshold = None,
    model: ModelOption = None,
    backend: BackendName = None,
    url: Url = None,
    endpoint: Endpoint = None,
    concurrency: Concurrency = 4,
    restart: Restart = False,
    region: Region = None,
    profile: Profile = None,
) -> None:
    """Find the instances in images, with a model in this process or one that is served.

    With --json FILE.json, results are kept in FILE.jsonl as they come, and the same command resumes
    an interrupted run: it skips images that are done and have not changed. An image that cannot be
    read is reported, the others are done, and the exit code is 1.
    """
    console = Console(soft_wrap=True)
    target = targets.named(url, endpoint, model)
    settings = environment.read(model=model, backend=backend)
    asked: dict[str, object] = {"target": str(target), "score_threshold": score_threshold}
    opening = partial(predictor_of, console, target, backend, region, profile)
    if target.kind == "model":
        asked["mask_threshold"] = settings.model.mask_threshold
        opening = partial(predictor_in_process, console, settings, concurrency)
    drawings = None if out is None else Drawings(out)
    needs_masks = out is not None or json_file is not None
    total = skipped = failed = 0

    def todo(journal: Journal | None) -> Iterator[tuple[Source, Path | None]]:
        """Each image that is not done, and where to draw it."""
        nonlocal total, skipped
        for source in sources(places):
            total += 1
            place = None if drawings is None else drawings.place(source.name)
            if journal is not None and journal.has(source):
                skipped += 1
            else:
                yield source, place

    def predicted(predictor: Predictor, item: tuple[Source, Path | None]) -> ImageResult:
        source, place = item
        result = predictor.predict(
            source.read(), score_threshold=score_threshold, masks=needs_masks
        )
        if place is not None:
            result.draw().save(place)
        return result

    with ExitStack() as stack:
        journal = None
        if json_file is not None:
            journal = stack.enter_context(Journal(_lines_of(json_file), asked, restart=restart))
        pairs = each(console, "predicting", opening, predicted, todo(journal), concurrency)
        for (source, _), result in pairs:
            if isinstance(result, MaskRCNNError):
                console.print(f"[red]{escape(f'{source.name}: {result.message}')}[/]")
                failed += 1
                if journal is not None:
                    journal.fail(source, result)
            else:
                console.print(f"{escape(source.name)}: {len(result)} instances")
                if journal is not None:
                    journal.add(source, result.to_coco(source.image_id), result.notes)
        if journal is not None and json_file is not None:
            journal.join(json_file)
    if skipped:
        console.print(f"{skipped} of {total} images were done already")
    if failed:
        raise InvalidImage(f"{failed} of {total} images failed")


def _lines_of(json_file: Path) -> Path:
    """The file for results until they are joined. Raises InvalidSetting."""
    lines = json_file.with_suffix(".jsonl")
    if lines == json_file:
        raise InvalidSetting(f"--json {json_file}: its lines go there; name FILE.json")
    return lines

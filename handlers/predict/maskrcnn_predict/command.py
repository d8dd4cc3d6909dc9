"""`maskrcnn-server predict`"""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Annotated, TypeAlias

import typer
from rich.console import Console
from rich.markup import escape

from maskrcnn_handlers.cli.options import BackendName, ModelOption
from maskrcnn_predict import targets
from maskrcnn_predict.drawings import Drawings
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
from maskrcnn_predict.predictors import ImageResult, Predictor
from maskrcnn_predict.run import each, predictor_in_process, predictor_of
from maskrcnn_predict.sources import Source, check, problem, sources
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
    for note in check(places):
        console.print(f"[yellow]{escape(note)}[/]")
    target = targets.named(url, endpoint, model)
    spec = ModelSpec(address=model, backend=backend)
    settings = spec.settings()
    asked: dict[str, object] = {"target": str(target), "score_threshold": score_threshold}
    opening = partial(predictor_of, console, target, backend, region, profile)
    if target.kind == "model":
        asked["mask_threshold"] = settings.model.mask_threshold
        opening = partial(predictor_in_process, console, spec, concurrency)
    needs_masks = out is not None or json_file is not None

    def predicted(predictor: Predictor, item: Item) -> ImageResult:
        source, place = item
        options = Options(score_threshold=score_threshold, masks=needs_masks)
        result = predictor.predict(source.read(), options)
        if place is not None:
            result.draw().save(place)
        return result

    with ExitStack() as stack:
        run = _Run(console, None if out is None else Drawings(out))
        if json_file is not None:
            journal = Journal(_lines_of(json_file), asked, restart=restart)
            run.journal = stack.enter_context(journal)
        pairs = each(console, "predicting", opening, predicted, run.todo(places), concurrency)
        for (source, _), result in pairs:
            run.add(source, result)
        if run.journal is not None and json_file is not None:
            renamed = run.journal.join(json_file)
            if renamed:
                said = f"{json_file}: {renamed} images share their ids: their paths are their ids"
                console.print(f"[yellow]{escape(said)}[/]")
    if run.skipped:
        console.print(f"{run.skipped} of {len(run.names)} images were done already")
    if not run.names:
        raise InvalidImage(f"no images at {', '.join(places)}")
    if run.failures:
        raise InvalidImage(f"{run.failures} of {len(run.names)} images failed")


@dataclass
class _Run:
    """Images of one call of the command, and what became of them."""

    console: Console
    drawings: Drawings | None
    journal: Journal | None = None
    names: set[str] = field(default_factory=set)
    skipped: int = 0
    failures: int = 0

    def todo(self, places: Sequence[str]) -> Iterator[Item]:
        """Each image that is not done, once, and where to draw it.

        A file that is no image is counted as failed here, and needs no model.
        """
        for source in sources(places):
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


def _lines_of(json_file: Path) -> Path:
    """The file for results until they are joined. Raises InvalidSetting."""
    lines = json_file.with_suffix(".jsonl")
    if lines == json_file:
        raise InvalidSetting(f"--json {json_file}: its lines go there; name FILE.json")
    return lines

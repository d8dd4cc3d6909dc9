"""`maskrcnn-server evaluate`"""

import importlib.util
import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from maskrcnn_handlers.cli.options import BackendName, ModelOption
from maskrcnn_predict import targets
from maskrcnn_predict.journal import Journal
from maskrcnn_predict.options import Concurrency, Endpoint, Profile, Region, Restart, Url
from maskrcnn_predict.predictors import ImageResult, Predictor
from maskrcnn_predict.run import each, predictor_of
from maskrcnn_predict.sources import Source, file_source
from maskrcnn_server.errors import InvalidImage, MaskRCNNError
from maskrcnn_server.options import Options
from maskrcnn_server.store.downloads import sha256
from maskrcnn_study.annotations import CocoSet, coco_set
from maskrcnn_study.evaluation import (
    KINDS,
    MAX_DETECTIONS,
    NUMBERS,
    SCORE_THRESHOLD,
    Figures,
    measure,
    plot,
    require_pycocotools,
)
from maskrcnn_study.matching import matched

SHOWN_FAILURES = 10


def evaluate(
    annotations: Annotated[Path, typer.Option("--coco", help="Annotations in COCO's format.")],
    folder: Annotated[Path, typer.Option("--images", help="Folder of the annotated images.")],
    url: Url = None,
    endpoint: Endpoint = None,
    model: ModelOption = None,
    out: Annotated[Path, typer.Option(help="Folder for results, figures and a plot.")] = Path(
        "evaluation"
    ),
    score_threshold: Annotated[
        float, typer.Option(min=0, max=1, help="Minimum score of what is evaluated.")
    ] = SCORE_THRESHOLD,
    max_detections: Annotated[
        int, typer.Option(min=1, help="Maximum number of instances per image.")
    ] = MAX_DETECTIONS,
    concurrency: Concurrency = 4,
    restart: Restart = False,
    backend: BackendName = None,
    region: Region = None,
    profile: Profile = None,
) -> None:
    """Measure a server, an endpoint or a model as COCO does: average precision of boxes and masks.

    The images go through the real contract. Results are kept as they come, and the same command
    resumes an interrupted run. Exit code 1 if an image failed.
    """
    console = Console(soft_wrap=True)
    require_pycocotools()
    target = targets.named(url, endpoint, model)
    truth = coco_set(annotations, folder)
    _print_notes(console, truth.notes)
    asked = {
        "target": str(target),
        "annotations": sha256(annotations),
        "score_threshold": score_threshold,
        "max_detections": max_detections,
    }
    with Journal(out / "journal.jsonl", asked, restart=restart) as journal:
        todo = [source for source in _sources(truth) if not journal.has(source)]
        if len(todo) < len(truth.paths):
            console.print(f"{len(truth.paths) - len(todo)} of {len(truth.paths)} are done already")

        def predicted(predictor: Predictor, source: Source) -> ImageResult:
            options = Options(score_threshold=score_threshold, max_detections=max_detections)
            return predictor.predict(source.read(), options)

        @contextmanager
        def opening() -> Iterator[Predictor]:
            """With classes that the annotations have, as far as somebody tells them."""
            with predictor_of(console, target, backend, region, profile) as predictor:
                names = predictor.class_names() or ()
                matched(dict(enumerate(names, start=1)), truth.categories)
                yield predictor

        pairs = each(console, "evaluating", opening, predicted, todo, concurrency, len(todo))
        for source, result in pairs:
            if isinstance(result, MaskRCNNError):
                journal.fail(source, result)
            else:
                journal.add(source, result.to_coco(source.image_id), result.notes)
        found = list(journal.results())
        failures = {line["picture"]: line["error"] for line in journal.lines() if "error" in line}
        changed = sum("notes" in line for line in journal.lines())
    names = {result["category_id"]: result["category_name"] for result in found}
    matching = matched(dict(sorted(names.items())), truth.categories, complete=False)
    _print_notes(console, matching.notes)
    results = list(matching.renumbered(found))
    _write(out / "results.json", results)
    _write(out / "annotations.json", truth.content)
    figures = measure(truth, results)
    content = {**asked, "images": len(truth.paths), "failed": failures, "resized": changed}
    content["notes"] = [*truth.notes, *matching.notes]
    (out / "figures.json").write_text(json.dumps(content | _as_json(figures), indent=1) + "\n")
    console.print(_numbers_table(figures), _categories_table(figures))
    drawn = importlib.util.find_spec("matplotlib") is not None
    if drawn:
        plot(figures, out / "precision_recall.svg")
    files = "results.json, figures.json" + (", precision_recall.svg" if drawn else "")
    console.print(f"{escape(str(out))}: {files}")
    if changed:
        console.print(f"[yellow]{changed} images were sent smaller than they are[/]")
    _report(console, failures, len(truth.paths))


def _sources(truth: CocoSet) -> Iterator[Source]:
    """A source for each image, also where two are of one file."""
    for i, path in truth.paths.items():
        yield replace(file_source(path, i), name=f"{path}#{i}")


def _print_notes(console: Console, notes: Iterable[str]) -> None:
    for note in notes:
        console.print(f"[yellow]{escape(note)}[/]")


def _write(path: Path, content: object) -> None:
    path.write_text(json.dumps(content, separators=(",", ":")) + "\n")


def _as_json(figures: Mapping[str, Figures]) -> dict[str, object]:
    return {
        kind: {"numbers": figure.numbers, "per_category_AP": figure.per_category}
        for kind, figure in figures.items()
    }


def _numbers_table(figures: Mapping[str, Figures]) -> Table:
    """The twelve numbers."""
    table = Table("", *(KINDS[kind] for kind in figures), title="COCO", title_justify="left")
    for name in NUMBERS:
        table.add_row(name, *(f"{figure.numbers[name]:.4f}" for figure in figures.values()))
    return table


def _categories_table(figures: Mapping[str, Figures]) -> Table:
    columns = (f"{KINDS[kind]} AP" for kind in figures)
    table = Table("category", *columns, title="by category", title_justify="left")
    for name in next(iter(figures.values())).per_category:
        values = (figure.per_category[name] for figure in figures.values())
        table.add_row(escape(name), *("-" if v < 0 else f"{v:.4f}" for v in values))
    return table


def _report(console: Console, failures: Mapping[str, Mapping[str, str]], total: int) -> None:
    """Say which images failed. Raises InvalidImage if there is one."""
    for name, error in list(failures.items())[:SHOWN_FAILURES]:
        said = f"{name}: {error['code']}: {error['message']}"
        console.print(f"[red]{escape(said)}[/]")
    if failures:
        raise InvalidImage(
            f"{len(failures)} of {total} images failed, and count as empty; "
            "the same command tries them again"
        )

"""`maskrcnn-server compare`"""

import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from maskrcnn_predict.journal import output_folder
from maskrcnn_predict.options import Concurrency, Images, Profile, Region, ScoreThreshold
from maskrcnn_predict.predictors import ImageResult, Predictor
from maskrcnn_predict.run import each, predictor_of
from maskrcnn_predict.sources import Source, check, count, problem, sources
from maskrcnn_predict.targets import recognised
from maskrcnn_server.errors import InvalidImage, InvalidModel, MaskRCNNError
from maskrcnn_server.options import Options
from maskrcnn_server.plugins import installed
from maskrcnn_study.comparison import MIN_IOU, Totals, difference
from maskrcnn_study.gallery import Gallery, in_words

TARGET = "URL of a server, model, or name of a SageMaker endpoint."


def compare(
    a: Annotated[str, typer.Argument(metavar="A", help=TARGET)],
    b: Annotated[str, typer.Argument(metavar="B", help=TARGET)],
    places: Images,
    out: Annotated[Path, typer.Option(help="Folder for figures and the page.")] = Path(
        "comparison"
    ),
    score_threshold: ScoreThreshold = None,
    least_iou: Annotated[
        float, typer.Option(min=0.01, max=1, help="Minimum IoU of the boxes of a match.")
    ] = MIN_IOU,
    worst: Annotated[int, typer.Option(min=0, help="Number of images in the page.")] = 24,
    fail_below: Annotated[
        float, typer.Option(min=0, max=1, help="Exit code 1 if A and B agree on less than this.")
    ] = 0,
    concurrency: Concurrency = 4,
    backend: Annotated[
        str | None, typer.Option(help="Backend of models (default: MASKRCNN_BACKEND).")
    ] = None,
    region: Region = None,
    profile: Profile = None,
) -> None:
    """Compare what two models or servers find in the same images.

    Detections of one category whose boxes overlap match. Writes the figures of every image, and a
    page of the worst disagreements.
    """
    console = Console(soft_wrap=True)
    for note in check(places):
        console.print(f"[yellow]{escape(note)}[/]")
    targets = [recognised(text, installed()) for text in (a, b)]
    output_folder(out)
    totals, gallery, failed = Totals(), Gallery(worst), 0

    @contextmanager
    def both() -> Iterator[list[Predictor]]:
        with ExitStack() as stack:
            yield [
                stack.enter_context(predictor_of(console, target, backend, region, profile))
                for target in targets
            ]

    def predicted(predictors: list[Predictor], source: Source) -> list[ImageResult]:
        data = source.read()
        options = Options(score_threshold=score_threshold)
        return [one.predict(data, options) for one in predictors]

    def fail(source: Source, error: MaskRCNNError) -> None:
        nonlocal failed
        console.print(f"[red]{escape(f'{source.name}: {error.message}')}[/]")
        failed += 1

    def todo() -> Iterator[Source]:
        """Each image; a file that is no image fails here, and needs no model."""
        for source in sources(places):
            if (wrong := problem(source.name)) is not None:
                fail(source, wrong)
            else:
                yield source

    with (out / "pictures.jsonl").open("w") as lines:
        pairs = each(console, "comparing", both, predicted, todo(), concurrency, count(places))
        for source, results in pairs:
            if isinstance(results, MaskRCNNError):
                fail(source, results)
                continue
            one, other = results
            differing = difference(one, other, least_iou)
            totals.add(differing)
            totals.add_names(one, other)
            gallery.add(source.name, one, other, differing)
            line = {
                "picture": source.name,
                "disagreement": round(differing.disagreement, 6),
                "matched": len(differing.pairs),
                "differences": in_words(one, other, differing),
            }
            lines.write(json.dumps(line) + "\n")
    named = {"A": str(targets[0]), "B": str(targets[1])}
    if not totals.images:
        raise InvalidImage(f"no image was compared; {failed} failed")
    figures = totals.figures()
    content = {**named, "failed": failed, **figures, "notes": totals.notes}
    (out / "comparison.json").write_text(json.dumps(content, indent=1) + "\n")
    (out / "index.html").write_text(gallery.page(named["A"], named["B"], totals), "utf-8")
    table = Table("A and B", "", title_justify="left")
    for name, value in figures.items():
        table.add_row(name, f"{value:.4f}" if isinstance(value, float) else str(value))
    console.print(table)
    for note in totals.notes:
        console.print(f"[yellow]{escape(note)}[/]")
    console.print(f"{escape(str(out))}: index.html, comparison.json, pictures.jsonl")
    if failed:
        raise InvalidImage(f"{failed} images failed")
    if totals.agreement < fail_below:
        raise InvalidModel(f"A and B agree on {totals.agreement:.4f}, less than {fail_below}")

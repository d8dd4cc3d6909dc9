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

from maskrcnn_client import Answer, Client
from maskrcnn_handlers.bulk.running import answers, client_of
from maskrcnn_handlers.bulk.sources import Source, sources
from maskrcnn_handlers.bulk.targets import recognised
from maskrcnn_handlers.cli.options import Concurrency, Profile, Region
from maskrcnn_server.errors import InvalidImage, InvalidModel, MaskRCNNError
from maskrcnn_server.plugins import installed
from maskrcnn_study.comparison import LEAST_IOU, Totals, difference
from maskrcnn_study.gallery import Gallery, in_words

WHO = "URL of a server, model, or name of a SageMaker endpoint."


def compare(
    a: Annotated[str, typer.Argument(metavar="A", help=WHO)],
    b: Annotated[str, typer.Argument(metavar="B", help=WHO)],
    places: Annotated[
        list[str], typer.Argument(metavar="IMAGE...", help="Pictures, folders, s3:// prefixes.")
    ],
    out: Annotated[Path, typer.Option(help="Folder for figures and the page.")] = Path(
        "comparison"
    ),
    score_threshold: Annotated[
        float | None, typer.Option(min=0, max=1, help="Least score (default: each one's own).")
    ] = None,
    least_iou: Annotated[
        float, typer.Option(min=0.01, max=1, help="Of the boxes of detections that are the same.")
    ] = LEAST_IOU,
    worst: Annotated[int, typer.Option(min=0, help="Pictures in the page.")] = 24,
    fail_below: Annotated[
        float, typer.Option(min=0, max=1, help="Exit code 1 if A and B agree on less than this.")
    ] = 0,
    concurrency: Concurrency = 4,
    backend: Annotated[
        str | None, typer.Option(help="Of models (default: MASKRCNN_BACKEND).")
    ] = None,
    region: Region = None,
    profile: Profile = None,
) -> None:
    """Hold what two models or servers find in the same pictures against each other.

    Detections of one category whose boxes overlap are the same. Writes the figures of every
    picture, and a page of the worst disagreements.
    """
    console = Console(soft_wrap=True)
    targets = [recognised(text, installed()) for text in (a, b)]
    out.mkdir(parents=True, exist_ok=True)
    totals, gallery, failed = Totals(), Gallery(worst), 0

    @contextmanager
    def both() -> Iterator[list[Client]]:
        with ExitStack() as stack:
            yield [
                stack.enter_context(client_of(console, target, backend, region, profile))
                for target in targets
            ]

    def ask(clients: list[Client], source: Source) -> list[Answer]:
        data = source.read()
        return [client.predict(data, score_threshold=score_threshold) for client in clients]

    with (out / "pictures.jsonl").open("w") as lines:
        pairs = answers(console, "comparing", both, ask, sources(places), concurrency)
        for source, found in pairs:
            if isinstance(found, MaskRCNNError):
                console.print(f"[red]{escape(f'{source.name}: {found.message}')}[/]")
                failed += 1
                continue
            one, other = found
            differing = difference(one, other, least_iou)
            totals.add(differing)
            gallery.add(source.name, one, other, differing)
            line = {
                "picture": source.name,
                "disagreement": round(differing.disagreement, 6),
                "matched": len(differing.pairs),
                "differences": in_words(one, other, differing),
            }
            lines.write(json.dumps(line) + "\n")
    named = {"A": str(targets[0]), "B": str(targets[1])}
    if not totals.pictures:
        raise InvalidImage(f"no picture was compared; {failed} could not be")
    figures = totals.figures()
    content = {**named, "failed": failed, **figures}
    (out / "comparison.json").write_text(json.dumps(content, indent=1) + "\n")
    (out / "index.html").write_text(gallery.page(named["A"], named["B"], totals), "utf-8")
    table = Table("A and B", "", title_justify="left")
    for name, value in figures.items():
        table.add_row(name, f"{value:.4f}" if isinstance(value, float) else str(value))
    console.print(table)
    console.print(f"{escape(str(out))}: index.html, comparison.json, pictures.jsonl")
    if failed:
        raise InvalidImage(f"{failed} pictures were not compared")
    if totals.agreement < fail_below:
        raise InvalidModel(f"A and B agree on {totals.agreement:.4f}, less than {fail_below}")

"""`maskrcnn-server predict`"""

from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from rich.console import Console
from rich.markup import escape

from maskrcnn_client import Answer, Client
from maskrcnn_client.payload import upright
from maskrcnn_handlers.bulk.journal import Journal
from maskrcnn_handlers.bulk.running import answers, client_in_process, client_of, one_target
from maskrcnn_handlers.bulk.sources import Source, sources
from maskrcnn_handlers.cli.drawings import Drawings
from maskrcnn_handlers.cli.options import (
    BackendName,
    Concurrency,
    Endpoint,
    ModelOption,
    Profile,
    Region,
    Restart,
    Url,
)
from maskrcnn_handlers.formats import pictures
from maskrcnn_server import settings as environment
from maskrcnn_server.errors import InvalidImage, InvalidSetting, MaskRCNNError


def predict(
    places: Annotated[
        list[str], typer.Argument(metavar="IMAGE...", help="Pictures, folders, s3:// prefixes.")
    ],
    out: Annotated[
        Path | None, typer.Option(help="Folder for a picture of each answer (PNG).")
    ] = None,
    json_file: Annotated[
        Path | None, typer.Option("--json", help="File for all answers, as COCO results.")
    ] = None,
    score_threshold: Annotated[
        float | None, typer.Option(min=0, max=1, help="Least score (default: the model's).")
    ] = None,
    model: ModelOption = None,
    backend: BackendName = None,
    url: Url = None,
    endpoint: Endpoint = None,
    concurrency: Concurrency = 4,
    restart: Restart = False,
    region: Region = None,
    profile: Profile = None,
) -> None:
    """Find the instances in pictures, with a model in this process or one that is served.

    With --json FILE.json, answers are kept in FILE.jsonl as they come, and the same command goes on
    where it was interrupted; pictures that are done and have not changed are skipped. A picture
    that cannot be read is reported, the others are answered, and the exit code is 1.
    """
    console = Console(soft_wrap=True)
    target = one_target(url, endpoint, model)
    settings = environment.read(model=model, backend=backend)
    asked: dict[str, object] = {"target": str(target), "score_threshold": score_threshold}
    opening = partial(client_of, console, target, backend, region, profile)
    if target.kind == "model":
        asked["mask_threshold"] = settings.model.mask_threshold
        opening = partial(client_in_process, console, settings, concurrency)
    drawings = None if out is None else Drawings(out)
    masks_are_wanted = out is not None or json_file is not None
    total = skipped = failed = 0

    def todo(journal: Journal | None) -> Iterator[tuple[Source, Path | None]]:
        """What is to be answered, and where to draw it."""
        nonlocal total, skipped
        for source in sources(places):
            total += 1
            place = None if drawings is None else drawings.place(source.name)
            if journal is not None and journal.has(source):
                skipped += 1
            else:
                yield source, place

    def ask(client: Client, item: tuple[Source, Path | None]) -> Answer:
        source, place = item
        answer = client.predict(
            source.read(), score_threshold=score_threshold, masks=masks_are_wanted
        )
        if place is not None:
            _draw(answer, place)
        return answer

    with ExitStack() as stack:
        journal = None
        if json_file is not None:
            journal = stack.enter_context(Journal(_lines_of(json_file), asked, restart=restart))
        found = answers(console, "predicting", opening, ask, todo(journal), concurrency)
        for (source, _), answer in found:
            if isinstance(answer, MaskRCNNError):
                console.print(f"[red]{escape(f'{source.name}: {answer.message}')}[/]")
                failed += 1
                if journal is not None:
                    journal.fail(source, answer)
            else:
                console.print(f"{escape(source.name)}: {len(answer)} instances")
                if journal is not None:
                    journal.add(source, answer.to_coco(source.image_id), answer.notes)
        if journal is not None and json_file is not None:
            journal.join(json_file)
    if skipped:
        console.print(f"{skipped} of {total} pictures were answered already")
    if failed:
        raise InvalidImage(f"{failed} of {total} pictures were not answered")


def _lines_of(json_file: Path) -> Path:
    """Where the answers are kept until they are joined. Raises InvalidSetting."""
    lines = json_file.with_suffix(".jsonl")
    if lines == json_file:
        raise InvalidSetting(f"--json {json_file}: its lines go there; name FILE.json")
    return lines


def _draw(answer: Answer, file: Path) -> None:
    image = np.asarray(upright(answer.picture))
    pictures.overlay(image, answer.detections, answer.categories).save(file)

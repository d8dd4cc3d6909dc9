"""`maskrcnn-server invoke`"""

import json
from functools import partial
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

from maskrcnn_handlers.answer.answers import categories, detections
from maskrcnn_handlers.bulk.sources import contents
from maskrcnn_handlers.cli.drawings import Drawings
from maskrcnn_handlers.cli.options import Profile, Region
from maskrcnn_handlers.cli.showing import listed
from maskrcnn_handlers.formats import pictures
from maskrcnn_handlers.request import images
from maskrcnn_sagemaker.aws import Aws
from maskrcnn_sagemaker.commands.options import EndpointName
from maskrcnn_sagemaker.invocations import Question, ask, ask_later, output_of
from maskrcnn_server import settings as environment


def invoke(
    name: EndpointName,
    pictures_in: Annotated[
        list[Path], typer.Argument(metavar="IMAGE...", help="Pictures to send.")
    ],
    out: Annotated[
        Path | None, typer.Option(help="Folder for a picture of each answer (PNG).")
    ] = None,
    json_file: Annotated[
        Path | None, typer.Option("--json", help="File for all answers, in the notebooks' format.")
    ] = None,
    score_threshold: Annotated[
        float | None, typer.Option(min=0, max=1, help="Least score (default: the model's).")
    ] = None,
    target_model: Annotated[
        str | None, typer.Option(help="Of a multi-model endpoint: archive below its prefix.")
    ] = None,
    timeout: Annotated[
        float, typer.Option(min=1, help="Seconds to wait for an asynchronous endpoint.")
    ] = 900,
    url: Annotated[
        str | None, typer.Option(help="A server of your own, in place of SageMaker; any NAME.")
    ] = None,
    region: Region = None,
    profile: Profile = None,
) -> None:
    """Send images to a SageMaker endpoint, and print the instances that it detects.

    An asynchronous endpoint is recognised; images and results go through S3.
    """
    console = Console(soft_wrap=True)
    aws = Aws(region, profile, url)
    output = None if url is not None else output_of(aws, name)
    answer = partial(ask, aws)
    if output is not None:
        answer = partial(ask_later, aws, output=output, timeout_s=timeout)
    options = "format=sagemaker"
    if score_threshold is not None:
        options += f";score_threshold={score_threshold}"
    drawings = None if out is None else Drawings(out)
    answers = []
    for path in pictures_in:
        data = contents(path)
        asked = Question(endpoint=name, image=data, options=options, target_model=target_model)
        annotations = answer(asked)
        answers.append({"img_id": path.name, "annotations": annotations})
        console.print(f"{escape(str(path))}: {len(annotations)} instances", listed(annotations))
        if drawings is not None:
            pixels = images.decode(data, environment.read().max_image_pixels)
            found = detections(annotations, (pixels.shape[0], pixels.shape[1]))
            pictures.overlay(pixels, found, categories(annotations)).save(drawings.place(path.name))
    if json_file is not None:
        json_file.write_text(json.dumps(answers))

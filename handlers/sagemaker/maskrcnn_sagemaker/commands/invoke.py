"""`maskrcnn-server invoke`"""

import json
from functools import partial
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

from maskrcnn_annotation_formats import reading
from maskrcnn_annotation_formats.drawing import overlay
from maskrcnn_handlers.request import images
from maskrcnn_predict.drawings import Drawings
from maskrcnn_predict.options import Profile, Region, ScoreThreshold
from maskrcnn_predict.showing import table
from maskrcnn_predict.sources import contents
from maskrcnn_sagemaker import invocations
from maskrcnn_sagemaker.aws import Aws
from maskrcnn_sagemaker.commands.options import EndpointName


def invoke(
    name: EndpointName,
    paths: Annotated[list[Path], typer.Argument(metavar="IMAGE...", help="Images to send.")],
    out: Annotated[
        Path | None, typer.Option(help="Folder for a drawing of each result (PNG).")
    ] = None,
    json_file: Annotated[
        Path | None, typer.Option("--json", help="File for all results, in the notebooks' format.")
    ] = None,
    score_threshold: ScoreThreshold = None,
    target_model: Annotated[
        str | None, typer.Option(help="Archive below the prefix of a multi-model endpoint.")
    ] = None,
    timeout: Annotated[
        float, typer.Option(min=1, help="Seconds to wait for an asynchronous endpoint.")
    ] = 900,
    url: Annotated[
        str | None,
        typer.Option(help="URL of your own server instead of SageMaker; NAME is ignored."),
    ] = None,
    region: Region = None,
    profile: Profile = None,
) -> None:
    """Send images to a SageMaker endpoint, and show the instances that it finds.

    An asynchronous endpoint is recognised; images and results go through S3.
    """
    console = Console(soft_wrap=True)
    aws = Aws(region, profile, url)
    way = invocations.Way() if url is not None else invocations.way(aws, name)
    output = way.output
    send = partial(invocations.invoke, aws)
    if output is not None:
        send = partial(invocations.invoke_async, aws, output=output, timeout_s=timeout)
    options = "format=sagemaker"
    if score_threshold is not None:
        options += f";score_threshold={score_threshold}"
    drawings = None if out is None else Drawings(out)
    replies = []
    for path in paths:
        data = contents(path)
        reply = send(
            invocations.Invocation(
                endpoint=name,
                image=data,
                options=options,
                target_model=target_model,
                component=way.component,
            )
        )
        replies.append({"img_id": path.name, "annotations": reply["annotations"]})
        image = images.decode(data, reading.MAX_PIXELS)
        found = reading.prediction(reading.annotations(reply), image)
        detections = found.detections
        console.print(f"{escape(str(path))}: {len(detections)} instances", table(found))
        if drawings is not None:
            drawn = overlay(image, detections, found.model.categories)
            drawn.save(drawings.place(path.name))
    if json_file is not None:
        json_file.write_text(json.dumps(replies))

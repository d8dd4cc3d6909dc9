"""Options that several commands share."""

from typing import Annotated

import typer

Url = Annotated[str | None, typer.Option(help="URL of a server (path: /invocations).")]
Endpoint = Annotated[str | None, typer.Option(help="Name of a SageMaker endpoint.")]
Concurrency = Annotated[int, typer.Option(min=1, help="Number of images sent at a time.")]
Restart = Annotated[
    bool, typer.Option("--restart", help="Start over: ignore the results of an earlier run.")
]
Images = Annotated[
    list[str], typer.Argument(metavar="IMAGE...", help="Files, folders, s3:// prefixes, @LIST.")
]
ScoreThreshold = Annotated[
    float | None, typer.Option(min=0, max=1, help="Minimum score (default: the model's).")
]
Region = Annotated[
    str | None, typer.Option(help="AWS region (default: AWS_DEFAULT_REGION, or the profile's).")
]
Profile = Annotated[str | None, typer.Option(help="Profile of ~/.aws/config.")]

"""What `--dry-run` reads and prints."""

import json
from collections.abc import Sequence

import typer

from maskrcnn_sagemaker.aws import Aws, Call, Nothing, Reader


def reader(aws: Aws) -> Reader:
    """The account; an empty one without credentials."""
    if aws.has_credentials:
        return aws
    typer.echo("no credentials: these are the calls for an empty account", err=True)
    return Nothing()


def show(calls: Sequence[Call]) -> None:
    """Print calls as JSON."""
    typer.echo(json.dumps([call.shown() for call in calls], indent=2))

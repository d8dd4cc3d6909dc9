"""Options that several commands share."""

from typing import Annotated

import typer

EndpointName = Annotated[str, typer.Argument(metavar="NAME", help="Name of the endpoint.")]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Print the calls of AWS's API as JSON; make none.")
]

"""`maskrcnn-server status`"""

import typer
from rich.console import Console
from rich.markup import escape

from maskrcnn_predict.options import Profile, Region
from maskrcnn_sagemaker import endpoints
from maskrcnn_sagemaker.aws import Aws
from maskrcnn_sagemaker.commands.options import EndpointName
from maskrcnn_sagemaker.logs import with_log
from maskrcnn_server.errors import DeploymentFailed


def status(name: EndpointName, region: Region = None, profile: Profile = None) -> None:
    """Print the state of a SageMaker endpoint; exit code 0 if it is in service."""
    found = endpoints.status(Aws(region, profile), name)
    if found is None:
        raise DeploymentFailed(f"there is no endpoint {name}: `deploy` makes one")
    facts = {
        "state": found.state,
        "runs on": found.hosting,
        "image": found.image,
        "model": found.model_data,
        "variables": ", ".join(found.variables) or "none",
    }
    console = Console(soft_wrap=True)
    for fact, value in facts.items():
        console.print(f"[bold]{fact:10}[/]{escape(value)}", highlight=False)
    if found.failure is not None:
        console.print(f"[red]failure:[/] {escape(with_log(found.failure, found.log))}")
    if found.state != "InService":
        raise typer.Exit(1)

"""`maskrcnn-server delete`"""

from rich.console import Console

from maskrcnn_predict.options import Profile, Region
from maskrcnn_predict.progress import waiting
from maskrcnn_sagemaker import endpoints
from maskrcnn_sagemaker.aws import Aws
from maskrcnn_sagemaker.commands.dry_run import reader, show
from maskrcnn_sagemaker.commands.options import DryRun, EndpointName


def delete(
    name: EndpointName, region: Region = None, profile: Profile = None, dry_run: DryRun = False
) -> None:
    """Delete a SageMaker endpoint with the models and configurations that `deploy` created for it.

    Uploads in S3 and logs stay.
    """
    aws = Aws(region, profile)
    if dry_run:
        show(endpoints.removal(reader(aws), name))
        return
    console = Console(soft_wrap=True)
    with waiting(console) as say:
        endpoints.settled(aws, name, say)
        calls = endpoints.removal(aws, name)
        endpoints.perform(aws, name, calls, say)
    console.print(f"{name} is removed" if calls else f"there is no {name}")

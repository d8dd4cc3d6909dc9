"""`maskrcnn-server deploy`"""

import json
import time
from dataclasses import replace
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

from maskrcnn_handlers.cli.options import Profile
from maskrcnn_handlers.cli.progress import waiting
from maskrcnn_sagemaker import batch, endpoints, places
from maskrcnn_sagemaker.aws import Aws, Call, Reader
from maskrcnn_sagemaker.commands.dry_run import reader, show
from maskrcnn_sagemaker.commands.options import DryRun, EndpointName
from maskrcnn_sagemaker.deployment import (
    Asynchronous,
    Batch,
    Container,
    Deployment,
    Hosting,
    Instances,
    Serverless,
    stored,
)
from maskrcnn_sagemaker.invocations import CONTENT_TYPE
from maskrcnn_sagemaker.objects import etag
from maskrcnn_sagemaker.policy import Rights
from maskrcnn_sagemaker.scaling import Scaling
from maskrcnn_server.errors import InvalidSetting
from maskrcnn_server.store.addresses import address

PRICES = "https://aws.amazon.com/sagemaker/ai/pricing/"

INSTANCES = "Instances"
SERVERLESS = "Serverless"
ASYNCHRONOUS = "Asynchronous"
BATCH = "Batch transform"


def deploy(
    name: EndpointName,
    image: Annotated[str, typer.Option(help="URI of the container image in ECR.")],
    model: Annotated[
        str, typer.Option(help="s3://bucket/model.tar.gz, or a model.tar.gz of `pack` to upload.")
    ],
    role: Annotated[str, typer.Option(help="ARN of the role that the container runs as.")],
    upload_to: Annotated[
        str | None, typer.Option(help="s3://bucket/prefix that a local model goes below.")
    ] = None,
    env: Annotated[
        list[str] | None, typer.Option(help="NAME=VALUE for the container; may be repeated.")
    ] = None,
    multi_model: Annotated[
        bool, typer.Option("--multi-model", help="--model is a prefix with many model.tar.gz.")
    ] = False,
    instance_type: Annotated[
        str | None, typer.Option(help="Such as ml.m5.xlarge.", rich_help_panel=INSTANCES)
    ] = None,
    count: Annotated[
        int, typer.Option(min=1, help="Number of instances; the minimum, if it scales.")
    ] = 1,
    startup_timeout: Annotated[
        int,
        typer.Option(
            min=60, max=3600, help="Seconds until /ping is 200.", rich_help_panel=INSTANCES
        ),
    ] = 600,
    max_count: Annotated[
        int | None,
        typer.Option(min=1, help="Scale up to this many.", rich_help_panel=INSTANCES),
    ] = None,
    invocations_per_instance: Annotated[
        float | None,
        typer.Option(min=0.001, help="Target per minute, for scaling.", rich_help_panel=INSTANCES),
    ] = None,
    serverless_memory: Annotated[
        int | None,
        typer.Option(min=1024, max=6144, help="Memory in MB.", rich_help_panel=SERVERLESS),
    ] = None,
    max_concurrency: Annotated[
        int,
        typer.Option(
            min=1,
            max=200,
            help="Maximum number of concurrent requests.",
            rich_help_panel=SERVERLESS,
        ),
    ] = 5,
    async_output: Annotated[
        str | None,
        typer.Option(help="s3://bucket/prefix for results.", rich_help_panel=ASYNCHRONOUS),
    ] = None,
    sns_success: Annotated[
        str | None,
        typer.Option(help="ARN of an SNS topic for successes.", rich_help_panel=ASYNCHRONOUS),
    ] = None,
    sns_error: Annotated[
        str | None,
        typer.Option(help="ARN of an SNS topic for failures.", rich_help_panel=ASYNCHRONOUS),
    ] = None,
    batch_input: Annotated[
        str | None,
        typer.Option(help="s3://bucket/prefix with images.", rich_help_panel=BATCH),
    ] = None,
    batch_output: Annotated[
        str | None,
        typer.Option(help="s3://bucket/prefix for results.", rich_help_panel=BATCH),
    ] = None,
    content_type: Annotated[
        str, typer.Option(help="Content type of the images.", rich_help_panel=BATCH)
    ] = CONTENT_TYPE,
    region: Annotated[str | None, typer.Option(help="AWS region (default: the image's).")] = None,
    profile: Profile = None,
    dry_run: DryRun = False,
    show_policy: Annotated[
        bool, typer.Option("--show-policy", help="Print the minimal IAM policy as JSON.")
    ] = False,
) -> None:
    """Create or update a SageMaker endpoint, or run a batch transform job, and wait for it.

    Run again with other options, it changes what differs; with the same ones, nothing.
    """
    taken = places.image(image)
    region = region or taken.region
    account = places.account(role, region)
    place, upload = stored(model, upload_to)
    if place.key.endswith(".tar.gz") == multi_model:
        raise InvalidSetting(f"{place}: not a .tar.gz, or, with --multi-model, not a prefix")
    container = Container(
        owner=places.endpoint_name(name),
        image=image,
        model_data=str(place),
        role=role,
        environment=dict(map(_variable, env or ())),
        multi_model=multi_model,
    )
    wanted: Deployment | Batch
    if batch_input or batch_output:
        if not (batch_input and batch_output and instance_type):
            raise InvalidSetting("--batch-input, --batch-output and --instance-type go together")
        wanted = Batch(
            job=f"{name}-{time.strftime('%Y%m%d%H%M%S', time.gmtime())}",
            container=container,
            source=address(batch_input),
            target=address(batch_output),
            content_type=content_type,
            instance_type=instance_type,
            count=count,
        )
    else:
        machines = _machines(
            instance_type,
            count,
            startup_timeout,
            _scaling(count, max_count, invocations_per_instance),
            serverless_memory,
            max_concurrency,
        )
        hosting: Hosting = machines
        if async_output or sns_success or sns_error:
            hosting = _asynchronous(machines, async_output, sns_success, sns_error)
        wanted = Deployment(name=name, container=container, hosting=hosting)
    if show_policy:
        below = address(upload_to) if upload_to else place
        rights = Rights(
            account=account, name=name, role=role, image=taken, model=below, wanted=wanted
        )
        typer.echo(json.dumps(rights.document(), indent=2))
        return
    aws = Aws(region, profile)
    if dry_run:
        show(_calls(reader(aws), wanted, upload))
        return
    console = Console(soft_wrap=True)
    with waiting(console) as say:
        if isinstance(wanted, Batch):
            batch.transform(aws, wanted, _calls(aws, wanted, upload), say)
            console.print(f"the results are below {escape(str(wanted.target))}")
            return
        endpoints.settled(aws, name, say)
        calls = _calls(aws, wanted, upload)
        endpoints.perform(aws, name, calls, say)
    console.print(f"{name} is in service{'' if calls else ' as it was: nothing had to change'}")
    if wanted.instance_type is not None:
        console.print(f"its instances are paid for until `delete {name}`; prices: {PRICES}")


def _calls(aws: Reader, wanted: Deployment | Batch, upload: Call | None) -> list[Call]:
    container = wanted.container
    there = None if container.multi_model else etag(aws, address(container.model_data))
    uploads = [upload] if upload is not None and there is None else []
    if isinstance(wanted, Batch):
        return uploads + batch.calls(wanted)
    if upload is None and there is not None:
        # An object may be replaced by another of the same address.
        wanted = replace(wanted, container=replace(container, revision=there))
    return uploads + endpoints.plan(aws, wanted)


def _machines(
    instance_type: str | None,
    count: int,
    startup_timeout_s: int,
    scaling: Scaling | None,
    memory_mb: int | None,
    max_concurrency: int,
) -> Instances | Serverless:
    if instance_type is not None and memory_mb is None:
        return Instances(
            instance_type=instance_type,
            count=count,
            startup_timeout_s=startup_timeout_s,
            scaling=scaling,
        )
    if instance_type is None and memory_mb is not None and scaling is None:
        return Serverless(memory_mb=memory_mb, max_concurrency=max_concurrency)
    raise InvalidSetting(
        "name either --instance-type or, for an endpoint that is serverless and scales by itself, "
        "--serverless-memory"
    )


def _scaling(count: int, max_count: int | None, per_instance: float | None) -> Scaling | None:
    if max_count is None and per_instance is None:
        return None
    if max_count is None or per_instance is None or max_count < count:
        raise InvalidSetting(
            "--max-count, not less than --count, and --invocations-per-instance go together"
        )
    return Scaling(
        min_instances=count, max_instances=max_count, invocations_per_instance=per_instance
    )


def _asynchronous(
    machines: Instances | Serverless, output: str | None, success: str | None, error: str | None
) -> Asynchronous:
    if output is None:
        raise InvalidSetting("--sns-success and --sns-error go with --async-output")
    if isinstance(machines, Serverless) or machines.scaling is not None:
        raise InvalidSetting("--async-output goes with --instance-type, and without --max-count")
    return Asynchronous(
        instances=machines,
        output=address(output),
        sns_success=success,
        sns_error=error,
    )


def _variable(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not (name and equals):
        raise InvalidSetting(f"--env {text}: not NAME=VALUE")
    return name, value

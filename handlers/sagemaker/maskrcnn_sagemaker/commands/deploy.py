"""`maskrcnn-server deploy`"""

import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

from maskrcnn_predict.addresses import address
from maskrcnn_predict.options import Profile
from maskrcnn_predict.progress import waiting
from maskrcnn_sagemaker import batch, endpoints, gpu, places
from maskrcnn_sagemaker.aws import Aws, Call, Nothing, Reader
from maskrcnn_sagemaker.commands.choices import (
    asynchronous,
    component,
    image_in,
    machines_of,
    network,
    pairs,
    refuse_with_serverless,
    scaling,
)
from maskrcnn_sagemaker.commands.dry_run import reader, show
from maskrcnn_sagemaker.commands.options import DryRun, EndpointName
from maskrcnn_sagemaker.deployment import Batch, Container, Deployment, stored
from maskrcnn_sagemaker.extra import read as read_extra
from maskrcnn_sagemaker.hosting import Capture, Hosting, Instances, Serverless
from maskrcnn_sagemaker.invocations import CONTENT_TYPE
from maskrcnn_sagemaker.objects import etag, etags
from maskrcnn_sagemaker.policy import Rights
from maskrcnn_sagemaker.scaling import Tracked
from maskrcnn_sagemaker.validation import checked
from maskrcnn_server.errors import InvalidSetting

PRICES = "https://aws.amazon.com/sagemaker/ai/pricing/"

INSTANCES = "Instances"
SERVERLESS = "Serverless"
ASYNCHRONOUS = "Asynchronous"
COMPONENT = "Inference component"
BATCH = "Batch transform"
ACCOUNT = "What accounts require"
INTERRUPTED = 130
"""Exit code after SIGINT."""


def deploy(
    name: EndpointName,
    image: Annotated[str, typer.Option(help="URI of the container image in ECR.")],
    model: Annotated[
        str,
        typer.Option(
            help="s3://bucket/model.tar.gz, s3://bucket/folder/, or a model.tar.gz of `pack` to "
            "upload."
        ),
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
    min_count: Annotated[
        int | None,
        typer.Option(
            min=0,
            help="Scale down to this many (default: --count); none if asynchronous or a component.",
            rich_help_panel=INSTANCES,
        ),
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
    backlog_per_instance: Annotated[
        float | None,
        typer.Option(
            min=0.001, help="Waiting requests each, for scaling.", rich_help_panel=ASYNCHRONOUS
        ),
    ] = None,
    component_memory: Annotated[
        int | None,
        typer.Option(
            min=128,
            help="Memory in MB of each copy of the model; --count and the like are for copies.",
            rich_help_panel=COMPONENT,
        ),
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
    ami: Annotated[
        str | None,
        typer.Option(
            help="AMI, which has the GPU's driver (default: one that fits the image's CUDA).",
            rich_help_panel=INSTANCES,
        ),
    ] = None,
    allow_cpu_image: Annotated[
        bool,
        typer.Option(
            "--allow-cpu-image",
            help="Take an image for CPUs for an instance with a GPU.",
            rich_help_panel=INSTANCES,
        ),
    ] = False,
    volume_gb: Annotated[
        int | None,
        typer.Option(min=1, max=512, help="Size of the volume.", rich_help_panel=INSTANCES),
    ] = None,
    download_timeout: Annotated[
        int | None,
        typer.Option(
            min=60, max=3600, help="Seconds for the model's download.", rich_help_panel=INSTANCES
        ),
    ] = None,
    skip_bad_images: Annotated[
        bool,
        typer.Option(
            "--skip-bad-images",
            help="Write an error in place of a result; without it, one bad image fails the job.",
            rich_help_panel=BATCH,
        ),
    ] = False,
    subnet: Annotated[
        list[str] | None,
        typer.Option(help="Subnet of your VPC; may be repeated.", rich_help_panel=ACCOUNT),
    ] = None,
    security_group: Annotated[
        list[str] | None,
        typer.Option(help="Security group; may be repeated.", rich_help_panel=ACCOUNT),
    ] = None,
    isolate_network: Annotated[
        bool,
        typer.Option(
            "--isolate-network", help="No network for the container.", rich_help_panel=ACCOUNT
        ),
    ] = False,
    kms_key: Annotated[
        str | None,
        typer.Option(
            help="KMS key for volumes, captured data and results.", rich_help_panel=ACCOUNT
        ),
    ] = None,
    tag: Annotated[
        list[str] | None,
        typer.Option(help="KEY=VALUE; may be repeated.", rich_help_panel=ACCOUNT),
    ] = None,
    capture_to: Annotated[
        str | None,
        typer.Option(
            help="s3://bucket/prefix for captured requests and replies.", rich_help_panel=ACCOUNT
        ),
    ] = None,
    capture_percent: Annotated[
        int,
        typer.Option(
            min=1, max=100, help="Percentage of requests to capture.", rich_help_panel=ACCOUNT
        ),
    ] = 100,
    extra: Annotated[
        Path | None,
        typer.Option(
            help="YAML: more parameters of AWS's calls, by operation.", rich_help_panel=ACCOUNT
        ),
    ] = None,
    adopt: Annotated[
        bool, typer.Option("--adopt", help="Take over an endpoint that something else made.")
    ] = False,
    show_policy: Annotated[
        bool, typer.Option("--show-policy", help="Print the minimal IAM policy as JSON.")
    ] = False,
) -> None:
    """Create or update a SageMaker endpoint, or run a batch transform job, and wait for it.

    Run again with other options, it changes what differs; with the same ones, nothing.
    """
    taken = image_in(image, region)
    account = places.account(role, taken.region)
    place, upload = stored(model, upload_to)
    unpacked = place.key.endswith("/") and not multi_model
    if place.key.endswith(".tar.gz") == multi_model and not unpacked:
        raise InvalidSetting(
            f"{place}: not a .tar.gz or a folder with / at its end, or, with --multi-model, not a "
            "prefix"
        )
    is_batch = bool(batch_input or batch_output)
    if skip_bad_images and not is_batch:
        raise InvalidSetting("--skip-bad-images goes with --batch-input")
    aws = Aws(taken.region, profile)
    look: Reader = aws if aws.has_credentials and not show_policy else Nothing()
    if places.instance_type(instance_type) and ami is None:
        ami = gpu.ami(look, taken, instance_type, batch=is_batch, any_image=allow_cpu_image)
    skipping = {"MASKRCNN_ERROR_ENTRIES": "true"} if skip_bad_images else {}
    container = Container(
        owner=places.endpoint_name(name),
        image=image,
        model_data=str(place),
        role=role,
        environment=skipping | pairs("--env", env),
        multi_model=multi_model,
        unpacked=unpacked,
        network=network(subnet, security_group, isolate_network),
        labels=pairs("--tag", tag),
        kms_key=kms_key,
        extra=read_extra(extra) if extra else {},
    )
    wanted: Deployment | Batch
    if is_batch:
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
            ami=ami,
        )
    else:
        scales = scaling(
            count=count,
            minimum=min_count,
            maximum=max_count,
            invocations=invocations_per_instance,
            backlog=backlog_per_instance,
            tracked=Tracked.COPIES if component_memory else Tracked.INVOCATIONS,
        )
        instances = instance_type and Instances(
            instance_type=instance_type,
            count=count,
            startup_timeout_s=startup_timeout,
            download_timeout_s=download_timeout,
            volume_gb=volume_gb,
            ami=ami,
            scaling=scales,
        )
        serverless = serverless_memory and Serverless(
            memory_mb=serverless_memory, max_concurrency=max_concurrency
        )
        machines = machines_of(instances or None, serverless or None, scales)
        hosting: Hosting = machines
        if async_output or sns_success or sns_error or backlog_per_instance:
            hosting = asynchronous(machines, async_output, sns_success, sns_error)
        if component_memory:
            hosting = component(hosting, component_memory, multi_model=multi_model)
        capture = capture_to and Capture(target=address(capture_to), percent=capture_percent)
        wanted = Deployment(
            name=name, container=container, hosting=hosting, capture=capture or None
        )
        refuse_with_serverless(wanted)
    if show_policy:
        below = address(upload_to) if upload_to else place
        rights = Rights(
            account=account, name=name, role=role, image=taken, model=below, wanted=wanted
        )
        typer.echo(json.dumps(rights.document(), indent=2))
    elif dry_run:
        show(_calls(reader(aws), wanted, upload, adopt))
    else:
        _perform(aws, wanted, upload, adopt)


def _perform(aws: Aws, wanted: Deployment | Batch, upload: Call | None, adopt: bool) -> None:
    """Make the calls, and wait."""
    console = Console(soft_wrap=True)
    try:
        with waiting(console) as say:
            if isinstance(wanted, Batch):
                batch.transform(aws, wanted, _calls(aws, wanted, upload, adopt), say)
                console.print(f"the results are below {escape(str(wanted.target))}")
                return
            endpoints.settled(aws, wanted.name, say)
            calls = _calls(aws, wanted, upload, adopt)
            endpoints.perform(aws, wanted.name, calls, say)
    except KeyboardInterrupt:
        console.print(escape(_goes_on(wanted)))
        raise typer.Exit(INTERRUPTED) from None
    same = "" if calls else " as it was: nothing had to change"
    console.print(f"{wanted.name} is in service{same}")
    if wanted.instance_type is not None:
        console.print(f"its instances are paid for until `delete {wanted.name}`; prices: {PRICES}")


def _goes_on(wanted: Deployment | Batch) -> str:
    """What a user who interrupts has to know."""
    if isinstance(wanted, Batch):
        return (
            f"interrupted here, but AWS goes on with the job, and it costs: `aws sagemaker "
            f"stop-transform-job --transform-job-name {wanted.job}` ends it; then `maskrcnn-server "
            f"delete {wanted.container.owner}` removes its model"
        )
    return (
        f"interrupted here, but AWS goes on, and its instances cost: the same command waits again, "
        f"`maskrcnn-server delete {wanted.name}` ends it"
    )


def _calls(aws: Reader, wanted: Deployment | Batch, upload: Call | None, adopt: bool) -> list[Call]:
    container = wanted.container
    place = address(container.model_data)
    look = etags if container.unpacked else etag
    there = None if container.multi_model else look(aws, place)
    uploads = [upload] if upload is not None and there is None else []
    if isinstance(wanted, Batch):
        return checked(uploads + batch.calls(wanted))
    if upload is None and there is not None:
        # An object may be replaced by another of the same address.
        wanted = replace(wanted, container=replace(container, revision=there))
    return checked(uploads + endpoints.plan(aws, wanted, adopt=adopt))

"""`maskrcnn-server deploy`"""

import json
import time
from collections.abc import Sequence
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
from maskrcnn_sagemaker.commands.dry_run import reader, show
from maskrcnn_sagemaker.commands.options import DryRun, EndpointName
from maskrcnn_sagemaker.deployment import (
    Asynchronous,
    Batch,
    Capture,
    Container,
    Deployment,
    Hosting,
    Instances,
    Network,
    Serverless,
    stored,
)
from maskrcnn_sagemaker.extra import read as read_extra
from maskrcnn_sagemaker.invocations import CONTENT_TYPE
from maskrcnn_sagemaker.objects import etag
from maskrcnn_sagemaker.places import EcrImage
from maskrcnn_sagemaker.policy import Rights
from maskrcnn_sagemaker.scaling import Scaling
from maskrcnn_server.errors import InvalidSetting

PRICES = "https://aws.amazon.com/sagemaker/ai/pricing/"

INSTANCES = "Instances"
SERVERLESS = "Serverless"
ASYNCHRONOUS = "Asynchronous"
BATCH = "Batch transform"
ACCOUNT = "What accounts require"
INTERRUPTED = 130
"""Exit code after SIGINT."""


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
    taken = _image_in(image, region)
    account = places.account(role, taken.region)
    place, upload = stored(model, upload_to)
    if place.key.endswith(".tar.gz") == multi_model:
        raise InvalidSetting(f"{place}: not a .tar.gz, or, with --multi-model, not a prefix")
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
        environment=skipping | _pairs("--env", env),
        multi_model=multi_model,
        network=_network(subnet, security_group, isolate_network),
        labels=_pairs("--tag", tag),
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
        scaling = _scaling(count, max_count, invocations_per_instance)
        instances = instance_type and Instances(
            instance_type=instance_type,
            count=count,
            startup_timeout_s=startup_timeout,
            download_timeout_s=download_timeout,
            volume_gb=volume_gb,
            ami=ami,
            scaling=scaling,
        )
        serverless = serverless_memory and Serverless(
            memory_mb=serverless_memory, max_concurrency=max_concurrency
        )
        machines = _machines(instances or None, serverless or None, scaling)
        hosting: Hosting = machines
        if async_output or sns_success or sns_error:
            hosting = _asynchronous(machines, async_output, sns_success, sns_error)
        capture = capture_to and Capture(target=address(capture_to), percent=capture_percent)
        wanted = Deployment(
            name=name, container=container, hosting=hosting, capture=capture or None
        )
        _refuse_with_serverless(wanted)
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
    there = None if container.multi_model else etag(aws, address(container.model_data))
    uploads = [upload] if upload is not None and there is None else []
    if isinstance(wanted, Batch):
        return uploads + batch.calls(wanted)
    if upload is None and there is not None:
        # An object may be replaced by another of the same address.
        wanted = replace(wanted, container=replace(container, revision=there))
    return uploads + endpoints.plan(aws, wanted, adopt=adopt)


def _image_in(uri: str, region: str | None) -> EcrImage:
    """The image, if SageMaker can use it in a region (None: the image's)."""
    image = places.image(uri)
    if region not in (None, image.region):
        raise InvalidSetting(
            f"{uri} is in {image.region}: SageMaker in {region} takes images of its own region"
        )
    return image


def _network(
    subnets: Sequence[str] | None, security_groups: Sequence[str] | None, isolated: bool
) -> Network:
    if bool(subnets) != bool(security_groups):
        raise InvalidSetting("--subnet and --security-group go together")
    return Network(
        subnets=places.identifiers(subnets or (), "subnet"),
        security_groups=places.identifiers(security_groups or (), "sg"),
        isolated=isolated,
    )


def _machines(
    instances: Instances | None, serverless: Serverless | None, scaling: Scaling | None
) -> Instances | Serverless:
    if instances is not None and serverless is None:
        return instances
    if instances is None and serverless is not None and scaling is None:
        if serverless.memory_mb % 1024:
            raise InvalidSetting(
                f"--serverless-memory {serverless.memory_mb}: it is a multiple of 1024, up to 6144"
            )
        return serverless
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


def _refuse_with_serverless(wanted: Deployment) -> None:
    """Raise InvalidSetting for what serverless endpoints do not have."""
    container = wanted.container
    options = {
        "--subnet": container.network.subnets,
        "--isolate-network": container.network.isolated,
        "--capture-to": wanted.capture,
        "--multi-model": container.multi_model,
    }
    given = next((option for option, value in options.items() if value), None)
    if isinstance(wanted.hosting, Serverless) and given is not None:
        raise InvalidSetting(f"{given}: serverless endpoints do not have this")


def _pairs(option: str, texts: Sequence[str] | None) -> dict[str, str]:
    pairs = {}
    for text in texts or ():
        name, equals, value = text.partition("=")
        if not (name and equals):
            raise InvalidSetting(f"{option} {text}: not NAME=VALUE")
        pairs[name] = value
    return pairs

"""What the options of `deploy` mean together."""

from collections.abc import Sequence

from maskrcnn_predict.addresses import address
from maskrcnn_sagemaker import places
from maskrcnn_sagemaker.deployment import Deployment
from maskrcnn_sagemaker.hosting import (
    Asynchronous,
    Component,
    Hosting,
    Instances,
    Network,
    Serverless,
)
from maskrcnn_sagemaker.places import EcrImage
from maskrcnn_sagemaker.scaling import Scaling, Tracked
from maskrcnn_server.errors import InvalidSetting


def image_in(uri: str, region: str | None) -> EcrImage:
    """The image, if SageMaker can use it in a region (None: the image's)."""
    image = places.image(uri)
    if region not in (None, image.region):
        raise InvalidSetting(
            f"{uri} is in {image.region}: SageMaker in {region} takes images of its own region"
        )
    return image


def network(
    subnets: Sequence[str] | None, security_groups: Sequence[str] | None, isolated: bool
) -> Network:
    """What the container can reach. Raises InvalidSetting."""
    if bool(subnets) != bool(security_groups):
        raise InvalidSetting("--subnet and --security-group go together")
    return Network(
        subnets=places.identifiers(subnets or (), "subnet"),
        security_groups=places.identifiers(security_groups or (), "sg"),
        isolated=isolated,
    )


def machines_of(
    instances: Instances | None, serverless: Serverless | None, scaling: Scaling | None
) -> Instances | Serverless:
    """The machines, of one kind. Raises InvalidSetting."""
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


def scaling(
    *,
    count: int,
    minimum: int | None,
    maximum: int | None,
    invocations: float | None,
    backlog: float | None,
    tracked: Tracked,
) -> Scaling | None:
    """The scaling; None: none. Raises InvalidSetting."""
    if minimum is maximum is invocations is backlog is None:
        return None
    target = invocations if backlog is None else backlog
    least = count if minimum is None else minimum
    if maximum is None or target is None or (invocations is not None and backlog is not None):
        raise InvalidSetting(
            "--max-count goes with --invocations-per-instance or, if asynchronous, "
            "--backlog-per-instance; and --min-count with --max-count"
        )
    if not least <= count <= maximum:
        raise InvalidSetting("--max-count is not less than --count, and --min-count not more")
    tracked = tracked if backlog is None else Tracked.BACKLOG
    if least == 0 and tracked is Tracked.INVOCATIONS:
        raise InvalidSetting(
            "--min-count 0: only asynchronous endpoints, inference components (--component-memory) "
            "and serverless ones have no instances at times"
        )
    return Scaling(minimum=least, maximum=maximum, target=target, tracked=tracked)


def asynchronous(
    machines: Instances | Serverless, output: str | None, success: str | None, error: str | None
) -> Asynchronous:
    """Asynchronous hosting. Raises InvalidSetting."""
    if output is None:
        raise InvalidSetting(
            "--sns-success, --sns-error and --backlog-per-instance go with --async-output"
        )
    if isinstance(machines, Serverless):
        raise InvalidSetting("--async-output goes with --instance-type")
    if machines.scaling is not None and machines.scaling.tracked is not Tracked.BACKLOG:
        raise InvalidSetting("--async-output scales by --backlog-per-instance")
    return Asynchronous(
        instances=machines,
        output=address(output),
        sns_success=success,
        sns_error=error,
    )


def component(hosting: Hosting, memory_mb: int, *, multi_model: bool) -> Component:
    """Hosting by an inference component. Raises InvalidSetting."""
    if not isinstance(hosting, Instances) or multi_model:
        raise InvalidSetting(
            "--component-memory goes with --instance-type, and without --async-output and "
            "--multi-model"
        )
    return Component(instances=hosting, memory_mb=memory_mb)


def refuse_with_serverless(wanted: Deployment) -> None:
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


def pairs(option: str, texts: Sequence[str] | None) -> dict[str, str]:
    """NAME=VALUE texts, taken apart. Raises InvalidSetting."""
    pairs = {}
    for text in texts or ():
        name, equals, value = text.partition("=")
        if not (name and equals):
            raise InvalidSetting(f"{option} {text}: not NAME=VALUE")
        pairs[name] = value
    return pairs

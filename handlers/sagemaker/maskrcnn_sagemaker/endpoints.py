"""Endpoints: planned, created, described, removed.

A plan is a list of calls that is made by comparing the desired with the current state.
"""

import re
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeAlias

from maskrcnn_sagemaker import components, scaling
from maskrcnn_sagemaker.aws import Aws, Call, Reader
from maskrcnn_sagemaker.deployment import MADE_FOR_JOB, MADE_HERE, TAG, Deployment, tags
from maskrcnn_sagemaker.logs import ENDPOINTS, last_lines, with_log
from maskrcnn_server.errors import DeploymentFailed

POLL_S = 10
PENDING = frozenset({"Creating", "Updating", "SystemUpdating", "RollingBack", "Deleting"})

Say: TypeAlias = Callable[[str], None]
"""Function that is told each action and each state of the endpoint."""
Pause: TypeAlias = Callable[[float], None]

sagemaker = partial(Call, "sagemaker")


@dataclass(frozen=True, kw_only=True)
class Status:
    """Current state of an endpoint."""

    state: str
    """SageMaker's status, such as InService."""
    hosting: str
    image: str
    model_data: str
    variables: Sequence[str]
    """Names of the container's environment variables."""
    failure: str | None
    log: Sequence[str]
    """Last log lines of a container that failed."""


def plan(aws: Reader, wanted: Deployment, *, adopt: bool = False) -> list[Call]:
    """Calls that bring the endpoint to the desired state; empty if it is there already.

    Raises DeploymentFailed if somebody else created it, unless `adopt`, which tags it as ours.
    """
    endpoint, scales = aws.find(_describe(wanted.name)), scaling.current(aws, wanted.name)
    calls: list[Call] = []
    if endpoint is not None:
        if adopt and not _tagged(aws, endpoint["EndpointArn"], wanted.name):
            arn = endpoint["EndpointArn"]
            calls.append(sagemaker("AddTags", {"ResourceArn": arn, "Tags": tags(wanted.name)}))
        elif not adopt:
            _refuse_foreign(aws, endpoint)
        failed = endpoint["EndpointStatus"] == "Failed"
        if failed or _changes_kind(aws, endpoint, wanted):
            calls += _end(aws, endpoint)
            endpoint = scales = None
    copies = components.plan(aws, wanted, exists=endpoint is not None)
    if endpoint is None or copies or _serves_other(endpoint, wanted.config_name):
        calls += _missing(aws, wanted)
    if endpoint is None:
        calls.append(wanted.create_endpoint())
    elif _serves_other(endpoint, wanted.config_name):
        # Instances that scale cannot become others of another type.
        retain = wanted.scaling is not None and _type_now(aws, endpoint) == wanted.instance_type
        if not retain and scales is not None:
            calls += scaling.end(aws, wanted.name)
            scales = None
        calls.append(wanted.update_endpoint(retain and scales is not None))
    elif scales is not None and _ends(scales, wanted.scaling):
        calls += scaling.end(aws, wanted.name)
        scales = None
    calls += copies
    if wanted.scaling is not None and scales != wanted.scaling:
        calls += scaling.begin(wanted.name, wanted.scaling)
    kept = (wanted.config_name, wanted.model_name)
    return calls + [_deletion(k, n) for k, n in _made_here(aws, wanted.name) if n not in kept]


def removal(aws: Reader, name: str) -> list[Call]:
    """Calls that remove an endpoint and everything created for it; empty if there is nothing.

    Raises DeploymentFailed if somebody else created it.
    """
    endpoint = aws.find(_describe(name))
    calls: list[Call] = []
    if endpoint is not None:
        _refuse_foreign(aws, endpoint)
        calls += _end(aws, endpoint)
    ours = [*_made_here(aws, name), *_made_here(aws, name, MADE_FOR_JOB)]
    return calls + [_deletion(kind, thing) for kind, thing in ours]


def perform(
    aws: Aws, name: str, calls: Sequence[Call], say: Say, pause: Pause = time.sleep
) -> None:
    """Make the calls of a plan, and wait for the endpoint after each call that changes it.

    Raises DeploymentFailed with SageMaker's reason and the container's last log lines. What was
    created stays, and the next plan continues from there.
    """
    reply: Any = None
    for planned in calls:
        call = planned.after(reply)
        say(call.title)
        if call.operation.startswith(("Delete", "Deregister")):
            reply = aws.find(call)
        else:
            reply = aws.call(call)
        if "InferenceComponent" in call.operation:
            components.settle(aws, name, say, pause, POLL_S)
        if call.operation in ("CreateEndpoint", "UpdateEndpoint", "DeleteEndpoint"):
            endpoint = settled(aws, name, say, pause)
            if call.operation != "DeleteEndpoint":
                _check(aws, name, endpoint, call.parameters["EndpointConfigName"])


def settled(aws: Aws, name: str, say: Say, pause: Pause = time.sleep) -> Any | None:
    """The endpoint, once no change is in progress; None if it does not exist."""
    seen = None
    while True:
        endpoint = aws.find(_describe(name))
        state = None if endpoint is None else endpoint["EndpointStatus"]
        if state != seen and state is not None:
            say(f"{name}: {state}")
        seen = state
        if state not in PENDING:
            return endpoint
        pause(POLL_S)


def configuration(aws: Aws, name: str) -> tuple[Any, Any] | None:
    """An endpoint and its configuration; None if it does not exist."""
    endpoint = aws.find(_describe(name))
    if endpoint is None:
        return None
    named = {"EndpointConfigName": endpoint["EndpointConfigName"]}
    config = aws.find(sagemaker("DescribeEndpointConfig", named))
    return endpoint, config or {"ProductionVariants": [{}]}


def status(aws: Aws, name: str) -> Status | None:
    """Current state of the endpoint; None if it does not exist."""
    found = configuration(aws, name)
    if found is None:
        return None
    endpoint, config = found
    model_name = config["ProductionVariants"][0].get("ModelName")
    if model_name is None:
        component = components.find(aws, name) or {}
        model_name = component.get("Specification", {}).get("ModelName", "unknown")
    model = aws.find(sagemaker("DescribeModel", {"ModelName": model_name})) or {}
    container = model.get("PrimaryContainer", {})
    state = endpoint["EndpointStatus"]
    return Status(
        state=state,
        hosting=_hosting(config, endpoint),
        image=container.get("Image", "unknown"),
        model_data=_model_data(container),
        variables=sorted(container.get("Environment", {})),
        failure=endpoint.get("FailureReason") or None,
        log=last_lines(aws, f"{ENDPOINTS}/{name}") if state == "Failed" else (),
    )


def _describe(name: str) -> Call:
    return sagemaker("DescribeEndpoint", {"EndpointName": name})


def _deletion(kind: str, name: str) -> Call:
    return sagemaker(f"Delete{kind}", {f"{kind}Name": name})


def _serves_other(endpoint: Any, config_name: str) -> bool:
    return bool(
        endpoint["EndpointConfigName"] != config_name or endpoint["EndpointStatus"] != "InService"
    )


def _missing(aws: Reader, wanted: Deployment) -> Iterator[Call]:
    """Calls that create model and configuration where they are missing."""
    if aws.find(sagemaker("DescribeModel", {"ModelName": wanted.model_name})) is None:
        yield wanted.create_model()
    named = {"EndpointConfigName": wanted.config_name}
    if aws.find(sagemaker("DescribeEndpointConfig", named)) is None:
        yield wanted.create_config()


def _check(aws: Aws, name: str, endpoint: Any | None, config_name: str) -> None:
    """Raise DeploymentFailed unless the endpoint serves the desired configuration.

    A failed update leaves it in service with the previous one.
    """
    endpoint = endpoint or {"EndpointStatus": "gone", "EndpointConfigName": config_name}
    if not _serves_other(endpoint, config_name):
        return
    state, config = endpoint["EndpointStatus"], endpoint["EndpointConfigName"]
    reason = endpoint.get("FailureReason") or "no reason is given"
    still = f", with {config} as before" if config != config_name else ""
    message = f"endpoint {name} is {state}{still}: {reason}"
    raise DeploymentFailed(with_log(message, last_lines(aws, f"{ENDPOINTS}/{name}")))


def _refuse_foreign(aws: Reader, endpoint: Any) -> None:
    """Raise DeploymentFailed for an endpoint that somebody else created."""
    if not _tagged(aws, endpoint["EndpointArn"], endpoint["EndpointName"]):
        raise DeploymentFailed(
            f"endpoint {endpoint['EndpointName']} was not made by `deploy` (it has no tag {TAG}): "
            "choose another name, or let `deploy --adopt` take it over"
        )


def _tagged(aws: Reader, arn: str, name: str) -> bool:
    found = aws.pages(sagemaker("ListTags", {"ResourceArn": arn}), "Tags")
    return {"Key": TAG, "Value": name} in list(found)


def _made_here(
    aws: Reader, name: str, suffix: re.Pattern[str] = MADE_HERE
) -> Iterator[tuple[str, str]]:
    """Configurations and models of an endpoint, configurations first."""
    for kind in ("EndpointConfig", "Model"):
        call = sagemaker(f"List{kind}s", {"NameContains": f"{name}-"})
        for item in list(aws.pages(call, f"{kind}s")):
            thing = item[f"{kind}Name"]
            ours = thing.startswith(name) and suffix.fullmatch(thing.removeprefix(name))
            if ours and _tagged(aws, item[f"{kind}Arn"], name):
                yield kind, thing


def _config_now(aws: Reader, endpoint: Any) -> Any | None:
    named = {"EndpointConfigName": endpoint["EndpointConfigName"]}
    return aws.find(sagemaker("DescribeEndpointConfig", named))


def _type_now(aws: Reader, endpoint: Any) -> str | None:
    """Current instance type of the endpoint; None: none."""
    config = _config_now(aws, endpoint)
    return config and config["ProductionVariants"][0].get("InstanceType")


def _changes_kind(aws: Reader, endpoint: Any, wanted: Deployment) -> bool:
    """Whether the endpoint is to be of another kind, such as serverless: no update does that."""
    if endpoint["EndpointConfigName"] == wanted.config_name:
        return False
    config = _config_now(aws, endpoint)
    if config is None:
        return False
    return components.of_kind(config) != components.of_kind(wanted.create_config().parameters)


def _ends(now: scaling.Scaling, wanted: scaling.Scaling | None) -> bool:
    """Whether the current scaling ends; what is the same but for its numbers is changed."""
    if wanted is None:
        return True
    return (now.tracked, now.minimum == 0) != (wanted.tracked, wanted.minimum == 0)


def _end(aws: Reader, endpoint: Any) -> list[Call]:
    """Calls that remove an endpoint with its scaling and its copies."""
    name = endpoint["EndpointName"]
    copies = components.removal(aws, _config_now(aws, endpoint), name)
    return [*scaling.end(aws, name), *copies, _deletion("Endpoint", name)]


def _model_data(container: Any) -> str:
    source = container.get("ModelDataSource", {}).get("S3DataSource", {})
    return str(container.get("ModelDataUrl") or source.get("S3Uri", "unknown"))


def _hosting(config: Any, endpoint: Any) -> str:
    """Description of the hosting of an endpoint."""
    variant = config["ProductionVariants"][0]
    now = (endpoint.get("ProductionVariants") or [{}])[0]
    if serverless := variant.get("ServerlessConfig"):
        return (
            f"serverless, {serverless['MemorySizeInMB']} MB, "
            f"{serverless['MaxConcurrency']} requests at once"
        )
    count = now.get("CurrentInstanceCount", variant.get("InitialInstanceCount", "?"))
    words = f"{count} of {variant.get('InstanceType', 'unknown')}"
    if components.of_kind(config) == "component":
        words += ", with the model as an inference component"
    desired = now.get("DesiredInstanceCount", count)
    if desired != count:
        words += f" ({desired} wanted)"
    if output := config.get("AsyncInferenceConfig", {}).get("OutputConfig", {}):
        words += f", asynchronous, answers in {output['S3OutputPath']}"
    return words

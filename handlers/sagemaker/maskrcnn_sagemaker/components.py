"""Inference components: copies of a model on the instances of an endpoint that has none itself."""

import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from maskrcnn_sagemaker.aws import Aws, Call, Reader
from maskrcnn_sagemaker.deployment import Deployment
from maskrcnn_server.errors import DeploymentFailed

sagemaker = partial(Call, "sagemaker")
PENDING = frozenset({"Creating", "Updating", "Deleting"})


def plan(aws: Reader, wanted: Deployment, *, exists: bool) -> list[Call]:
    """Calls that bring the copies to the desired state. `exists`: whether the endpoint does."""
    if wanted.component is None:
        return []
    now = find(aws, wanted.name) if exists else None
    if now is None:
        return [wanted.create_component()]
    if now["InferenceComponentStatus"] == "Failed":
        return [deletion(wanted.name), wanted.create_component()]
    desired = wanted.update_component()
    specification = desired.parameters["Specification"]
    same = _has(now["Specification"], specification)
    if (count := desired.parameters.get("RuntimeConfig")) is not None:
        same = same and now["RuntimeConfig"]["DesiredCopyCount"] == count["CopyCount"]
    return [] if same else [desired]


def removal(aws: Reader, config: Any | None, name: str) -> list[Call]:
    """The call that removes the copies on an endpoint with a configuration; empty if it has none.

    SageMaker removes no endpoint with copies on it.
    """
    there = config is not None and of_kind(config) == "component" and find(aws, name) is not None
    return [deletion(name)] if there else []


def find(aws: Reader, name: str) -> Any | None:
    """The inference component; None if there is none."""
    return aws.find(sagemaker("DescribeInferenceComponent", {"InferenceComponentName": name}))


def deletion(name: str) -> Call:
    """DeleteInferenceComponent."""
    return sagemaker("DeleteInferenceComponent", {"InferenceComponentName": name})


def of_kind(config: Mapping[str, Any]) -> str:
    """Kind of an endpoint configuration, of which an endpoint cannot get another by an update."""
    variant = config["ProductionVariants"][0]
    if "ServerlessConfig" in variant:
        return "serverless"
    has_model = "ModelName" in variant
    return "component" if "InstanceType" in variant and not has_model else "instances"


def settle(
    aws: Aws,
    name: str,
    say: Callable[[str], None],
    pause: Callable[[float], None] = time.sleep,
    poll_s: float = 10,
) -> None:
    """Wait until no change is in progress. Raises DeploymentFailed with SageMaker's reason."""
    seen = None
    while True:
        now = find(aws, name)
        state = None if now is None else now["InferenceComponentStatus"]
        if state not in (None, seen):
            say(f"copies of {name}: {state}")
        seen = state
        if now is not None and state == "Failed":
            reason = now.get("FailureReason") or "no reason is given"
            raise DeploymentFailed(f"inference component {name} is Failed: {reason}")
        if state not in PENDING:
            return
        pause(poll_s)


def _has(now: Any, wanted: Any) -> bool:
    """Whether all that is wanted is there; SageMaker adds values of its own."""
    if not isinstance(wanted, Mapping):
        return bool(now == wanted)
    return isinstance(now, Mapping) and all(_has(now.get(k), v) for k, v in wanted.items())

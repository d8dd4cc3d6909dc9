"""Scaling of an endpoint's instances, or of its copies of a model, by Application Auto Scaling."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from functools import partial
from typing import Any

from maskrcnn_sagemaker.aws import Call, FromReply, Reader

VARIANT = "AllTraffic"
"""Name of the only production variant of an endpoint."""
POLICY, WAKING_POLICY = "target", "from-zero"
METRICS = "AWS/SageMaker"

autoscaling = partial(Call, "application-autoscaling")


class Tracked(Enum):
    """What a target is for, and counted by."""

    INVOCATIONS = "SageMakerVariantInvocationsPerInstance"
    """Invocations per minute of each instance."""
    BACKLOG = "ApproximateBacklogSizePerInstance"
    """Waiting requests of an asynchronous endpoint for each instance."""
    COPIES = "SageMakerInferenceComponentInvocationsPerCopy"
    """Invocations per minute of each copy of an inference component."""


WAKING = {
    Tracked.BACKLOG: ("HasBacklogWithoutCapacity", "EndpointName"),
    Tracked.COPIES: ("NoCapacityInvocationFailures", "InferenceComponentName"),
}
"""Metric that says that zero are too few, and the dimension that has the endpoint's name."""


@dataclass(frozen=True, kw_only=True)
class Scaling:
    """Target tracking: enough instances or copies for this many of what is tracked each."""

    minimum: int
    maximum: int
    target: float
    tracked: Tracked = Tracked.INVOCATIONS


def begin(endpoint: str, scaling: Scaling) -> list[Call]:
    """Calls that start scaling or change it. From zero, no average leads on: an alarm adds the
    first instance or copy."""
    target = _target(endpoint, copies=scaling.tracked is Tracked.COPIES)
    limits = {"MinCapacity": scaling.minimum, "MaxCapacity": scaling.maximum}
    policy = {
        "PolicyName": POLICY,
        "PolicyType": "TargetTrackingScaling",
        "TargetTrackingScalingPolicyConfiguration": {
            "TargetValue": scaling.target,
            **_metric(endpoint, scaling.tracked),
        },
    }
    calls = [
        autoscaling("RegisterScalableTarget", {**target, **limits}),
        autoscaling("PutScalingPolicy", {**target, **policy}),
    ]
    return calls if scaling.minimum else calls + _waking(endpoint, scaling.tracked, target)


def end(aws: Reader, endpoint: str) -> list[Call]:
    """DeregisterScalableTarget, which also removes policies, and for scaling from zero
    DeleteAlarms; empty if the endpoint does not scale."""
    target = _registered(aws, endpoint)
    if target is None:
        return []
    named = {name: target[name] for name in _target(endpoint, copies=False)}
    calls = [autoscaling("DeregisterScalableTarget", named)]
    if target["MinCapacity"] == 0:
        calls.append(Call("cloudwatch", "DeleteAlarms", {"AlarmNames": [alarm(endpoint)]}))
    return calls


def current(aws: Reader, endpoint: str) -> Scaling | None:
    """Current scaling of the endpoint; None: none."""
    target = _registered(aws, endpoint)
    if target is None:
        return None
    named = {name: target[name] for name in _target(endpoint, copies=False)}
    policies = aws.pages(autoscaling("DescribeScalingPolicies", named), "ScalingPolicies")
    key = "TargetTrackingScalingPolicyConfiguration"
    found = {policy["PolicyName"]: policy.get(key, {}) for policy in policies}
    complete = {POLICY} | (set() if target["MinCapacity"] else {WAKING_POLICY})
    tracking = found.get(POLICY, {})
    return Scaling(
        minimum=target["MinCapacity"],
        maximum=target["MaxCapacity"],
        target=tracking.get("TargetValue", 0.0) if found.keys() == complete else 0.0,
        tracked=_tracked(tracking),
    )


def alarm(endpoint: str) -> str:
    """Name of the alarm that adds the first instance or copy."""
    return f"{endpoint}-{WAKING_POLICY}"


def _metric(endpoint: str, tracked: Tracked) -> dict[str, Any]:
    if tracked is not Tracked.BACKLOG:
        return {"PredefinedMetricSpecification": {"PredefinedMetricType": tracked.value}}
    metric = {
        "MetricName": tracked.value,
        "Namespace": METRICS,
        "Dimensions": [{"Name": "EndpointName", "Value": endpoint}],
        "Statistic": "Average",
    }
    return {"CustomizedMetricSpecification": metric}


def _tracked(policy: Mapping[str, Any]) -> Tracked:
    if "CustomizedMetricSpecification" in policy:
        return Tracked.BACKLOG
    metric = policy.get("PredefinedMetricSpecification", {}).get("PredefinedMetricType")
    return Tracked.COPIES if metric == Tracked.COPIES.value else Tracked.INVOCATIONS


def _waking(endpoint: str, tracked: Tracked, target: Mapping[str, str]) -> list[Call]:
    """PutScalingPolicy and PutMetricAlarm, with the values of SageMaker's developer guide."""
    metric, dimension = WAKING[tracked]
    step = {
        "AdjustmentType": "ChangeInCapacity",
        "MetricAggregationType": "Maximum",
        "Cooldown": 60,
        "StepAdjustments": [{"MetricIntervalLowerBound": 0, "ScalingAdjustment": 1}],
    }
    policy = {
        "PolicyName": WAKING_POLICY,
        "PolicyType": "StepScaling",
        "StepScalingPolicyConfiguration": step,
    }
    watch = {
        "AlarmName": alarm(endpoint),
        "AlarmActions": [FromReply("PolicyARN")],
        "Namespace": METRICS,
        "MetricName": metric,
        "Dimensions": [{"Name": dimension, "Value": endpoint}],
        "Statistic": "Maximum",
        "Period": 60,
        "EvaluationPeriods": 1,
        "DatapointsToAlarm": 1,
        "Threshold": 1,
        "ComparisonOperator": "GreaterThanOrEqualToThreshold",
        "TreatMissingData": "missing",
    }
    return [
        autoscaling("PutScalingPolicy", {**target, **policy}),
        Call("cloudwatch", "PutMetricAlarm", watch),
    ]


def _registered(aws: Reader, endpoint: str) -> Any | None:
    both = [_target(endpoint, copies=copies)["ResourceId"] for copies in (False, True)]
    asked = {"ServiceNamespace": "sagemaker", "ResourceIds": both}
    return next(aws.pages(autoscaling("DescribeScalableTargets", asked), "ScalableTargets"), None)


def _target(endpoint: str, *, copies: bool) -> dict[str, str]:
    """Application Auto Scaling's id for the instances of an endpoint, or for its copies."""
    kind, name = ("variant", f"endpoint/{endpoint}/variant/{VARIANT}")
    count = "DesiredInstanceCount"
    if copies:
        kind, name, count = (
            "inference-component",
            f"inference-component/{endpoint}",
            "DesiredCopyCount",
        )
    return {
        "ServiceNamespace": "sagemaker",
        "ResourceId": name,
        "ScalableDimension": f"sagemaker:{kind}:{count}",
    }

"""Scaling of an endpoint's instances by Application Auto Scaling."""

from dataclasses import dataclass
from functools import partial
from typing import Any

from maskrcnn_sagemaker.aws import Call, Reader

VARIANT = "AllTraffic"
"""Name of the only production variant of an endpoint."""
POLICY = "invocations-per-instance"
METRIC = "SageMakerVariantInvocationsPerInstance"

autoscaling = partial(Call, "application-autoscaling")


@dataclass(frozen=True, kw_only=True)
class Scaling:
    """Target tracking: enough instances for this many invocations per minute each."""

    min_instances: int
    max_instances: int
    invocations_per_instance: float


def begin(endpoint: str, scaling: Scaling) -> list[Call]:
    """RegisterScalableTarget and PutScalingPolicy; they also change existing ones."""
    target = _target(endpoint)
    limits = {"MinCapacity": scaling.min_instances, "MaxCapacity": scaling.max_instances}
    policy = {
        "PolicyName": POLICY,
        "PolicyType": "TargetTrackingScaling",
        "TargetTrackingScalingPolicyConfiguration": {
            "TargetValue": scaling.invocations_per_instance,
            "PredefinedMetricSpecification": {"PredefinedMetricType": METRIC},
        },
    }
    return [
        autoscaling("RegisterScalableTarget", {**target, **limits}),
        autoscaling("PutScalingPolicy", {**target, **policy}),
    ]


def end(aws: Reader, endpoint: str) -> list[Call]:
    """DeregisterScalableTarget, which also removes the policy; empty if it does not scale."""
    if _registered(aws, endpoint) is None:
        return []
    return [autoscaling("DeregisterScalableTarget", _target(endpoint))]


def current(aws: Reader, endpoint: str) -> Scaling | None:
    """Current scaling of the endpoint; None: none."""
    target = _registered(aws, endpoint)
    if target is None:
        return None
    policies = aws.pages(
        autoscaling("DescribeScalingPolicies", _target(endpoint)), "ScalingPolicies"
    )
    configuration = "TargetTrackingScalingPolicyConfiguration"
    values = [policy.get(configuration, {}).get("TargetValue", 0.0) for policy in policies]
    return Scaling(
        min_instances=target["MinCapacity"],
        max_instances=target["MaxCapacity"],
        invocations_per_instance=values[0] if len(values) == 1 else 0.0,
    )


def _registered(aws: Reader, endpoint: str) -> Any | None:
    asked: dict[str, Any] = dict(_target(endpoint))
    asked["ResourceIds"] = [asked.pop("ResourceId")]
    return next(aws.pages(autoscaling("DescribeScalableTargets", asked), "ScalableTargets"), None)


def _target(endpoint: str) -> dict[str, str]:
    """Application Auto Scaling's id for the instances of the endpoint."""
    return {
        "ServiceNamespace": "sagemaker",
        "ResourceId": f"endpoint/{endpoint}/variant/{VARIANT}",
        "ScalableDimension": "sagemaker:variant:DesiredInstanceCount",
    }

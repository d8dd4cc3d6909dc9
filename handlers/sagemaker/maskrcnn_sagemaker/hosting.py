"""Kinds of hosting, and what each puts into an endpoint configuration."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from maskrcnn_predict.addresses import Address
from maskrcnn_sagemaker.gpu import has_gpu
from maskrcnn_sagemaker.scaling import VARIANT, Scaling

LOCAL_STORAGE = re.compile(r"ml\.(?:g\d\w*|p[4-9]\w*|\w+d)\.")
"""Instance types with disks of their own, which AWS encrypts without a key of ours."""
FAILURES = "failures"
"""Prefix for errors, below the output of an asynchronous endpoint."""


@dataclass(frozen=True, kw_only=True)
class Instances:
    """Instances that run all the time, apart from `scaling`."""

    instance_type: str
    count: int = 1
    startup_timeout_s: int = 600
    download_timeout_s: int | None = None
    volume_gb: int | None = None
    ami: str | None = None
    """InferenceAmiVersion: the driver of the GPU. None: the default of the instance type."""
    scaling: Scaling | None = None

    @property
    def timeouts(self) -> dict[str, int]:
        """Time-outs of the start, in seconds, under AWS's names."""
        download = self.download_timeout_s
        given = {} if download is None else {"ModelDataDownloadTimeoutInSeconds": download}
        return {"ContainerStartupHealthCheckTimeoutInSeconds": self.startup_timeout_s, **given}

    def variant(self) -> dict[str, Any]:
        """A production variant without its model."""
        optional = {"VolumeSizeInGB": self.volume_gb, "InferenceAmiVersion": self.ami}
        return {
            "VariantName": VARIANT,
            "InstanceType": self.instance_type,
            "InitialInstanceCount": self.count,
            **self.timeouts,
            **{name: value for name, value in optional.items() if value is not None},
        }


@dataclass(frozen=True, kw_only=True)
class Serverless:
    """Serverless hosting: machines run only while there are requests."""

    memory_mb: int
    max_concurrency: int

    def variant(self) -> dict[str, Any]:
        """A production variant without its model."""
        memory, concurrency = self.memory_mb, self.max_concurrency
        config = {"MemorySizeInMB": memory, "MaxConcurrency": concurrency}
        return {"VariantName": VARIANT, "ServerlessConfig": config}


@dataclass(frozen=True, kw_only=True)
class Asynchronous:
    """Instances that read requests from S3 and write replies to it."""

    instances: Instances
    output: Address
    sns_success: str | None = None
    sns_error: str | None = None

    def config(self, key: str | None) -> dict[str, Any]:
        """AsyncInferenceConfig; `key` encrypts the results."""
        failures = Address(self.output.bucket, self.output.below(FAILURES))
        output: dict[str, Any] = {"S3OutputPath": str(self.output), "S3FailurePath": str(failures)}
        topics = {"SuccessTopic": self.sns_success, "ErrorTopic": self.sns_error}
        given = {name: topic for name, topic in topics.items() if topic}
        if key:
            output["KmsKeyId"] = key
        if given:
            output["NotificationConfig"] = given
        return {"OutputConfig": output}


@dataclass(frozen=True, kw_only=True)
class Component:
    """Instances with copies of the model as an inference component; SageMaker adds and removes
    instances for the copies, down to none."""

    instances: Instances
    memory_mb: int
    """Memory of each copy."""

    def variant(self) -> dict[str, Any]:
        """A production variant, which has no model."""
        scaling, count = self.instances.scaling, self.instances.count
        least, most = (scaling.minimum, scaling.maximum) if scaling else (count, count)
        limits = {"MinInstanceCount": least, "MaxInstanceCount": most}
        return {
            **self.instances.variant(),
            "ManagedInstanceScaling": {"Status": "ENABLED", **limits},
            "RoutingConfig": {"RoutingStrategy": "LEAST_OUTSTANDING_REQUESTS"},
        }

    def specification(self, model: str) -> dict[str, Any]:
        """Specification of the inference component: what each copy is and needs."""
        gpus = {"NumberOfAcceleratorDevicesRequired": 1}
        needs = gpus if has_gpu(self.instances.instance_type) else {}
        return {
            "ModelName": model,
            "StartupParameters": self.instances.timeouts,
            "ComputeResourceRequirements": {"MinMemoryRequiredInMb": self.memory_mb, **needs},
        }


Hosting: TypeAlias = Instances | Serverless | Asynchronous | Component


def instances(hosting: Hosting) -> Instances | None:
    """The instances; None for serverless."""
    if isinstance(hosting, Asynchronous | Component):
        return hosting.instances
    return hosting if isinstance(hosting, Instances) else None


@dataclass(frozen=True, kw_only=True)
class Network:
    """What a container can reach."""

    subnets: Sequence[str] = ()
    security_groups: Sequence[str] = ()
    isolated: bool = False
    """Whether the container has no network at all, not even for S3."""

    def parameters(self) -> dict[str, Any]:
        """Parameters of CreateModel, or of CreateEndpointConfig for inference components."""
        vpc = {"SecurityGroupIds": list(self.security_groups), "Subnets": list(self.subnets)}
        return {
            **({"VpcConfig": vpc} if self.subnets else {}),
            **({"EnableNetworkIsolation": True} if self.isolated else {}),
        }


@dataclass(frozen=True, kw_only=True)
class Capture:
    """Data capture: requests and replies that are kept in S3."""

    target: Address
    percent: int

    def config(self, key: str | None) -> dict[str, Any]:
        """DataCaptureConfig; `key` encrypts what is kept."""
        encryption: Mapping[str, str] = {"KmsKeyId": key} if key else {}
        return {
            "EnableCapture": True,
            "InitialSamplingPercentage": self.percent,
            "DestinationS3Uri": str(self.target),
            "CaptureOptions": [{"CaptureMode": mode} for mode in ("Input", "Output")],
            **encryption,
        }

"""Descriptions of deployments, and the calls that create them."""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

from maskrcnn_sagemaker.aws import Call
from maskrcnn_sagemaker.scaling import VARIANT, Scaling
from maskrcnn_server.errors import InvalidSetting
from maskrcnn_server.store.addresses import Address, address
from maskrcnn_server.store.downloads import sha256

TAG = "maskrcnn-server"
"""Tag on everything that is created here; its value is the endpoint's name."""
BATCH_PAYLOAD_MB = 20
"""Payload limit in MiB: the server's default. SageMaker allows 100 MB for all concurrent requests
together."""
FAILURES = "failures"
"""Prefix for errors, below the output of an asynchronous endpoint."""
HASHED = 10
"""Number of hexadecimal digits of the content hash at the end of a name."""
MADE_HERE = re.compile(rf"-[0-9a-f]{{{HASHED}}}")
"""Suffix of names of models and configurations after the endpoint's name."""


@dataclass(frozen=True, kw_only=True)
class Instances:
    """Instances that run all the time, apart from `scaling`."""

    instance_type: str
    count: int = 1
    startup_timeout_s: int = 600
    scaling: Scaling | None = None


@dataclass(frozen=True, kw_only=True)
class Serverless:
    """Serverless hosting: machines run only while there are requests."""

    memory_mb: int
    max_concurrency: int


@dataclass(frozen=True, kw_only=True)
class Asynchronous:
    """Instances that read requests from S3 and write replies to it."""

    instances: Instances
    output: Address
    sns_success: str | None = None
    sns_error: str | None = None


Hosting: TypeAlias = Instances | Serverless | Asynchronous


@dataclass(frozen=True, kw_only=True)
class Container:
    """A model in a container image; SageMaker calls it a model."""

    owner: str
    """Name of the endpoint."""
    image: str
    model_data: str
    role: str
    environment: Mapping[str, str] = field(default_factory=dict)
    revision: str = ""
    """Any text; a new one creates a new model with the same image and address."""
    multi_model: bool = False
    """Whether `model_data` is a prefix with one archive per model."""

    @property
    def name(self) -> str:
        """Name of the model; it changes with every property."""
        return f"{self.owner}-{_hash([self._content(), self.revision])}"

    def create(self, name: str) -> Call:
        """CreateModel."""
        parameters = {"ModelName": name, **self._content(), "Tags": tags(self.owner)}
        return Call("sagemaker", "CreateModel", parameters)

    def _content(self) -> dict[str, Any]:
        container = {
            "Image": self.image,
            "ModelDataUrl": self.model_data,
            "Environment": dict(sorted(self.environment.items())),
            **({"Mode": "MultiModel"} if self.multi_model else {}),
        }
        return {"PrimaryContainer": container, "ExecutionRoleArn": self.role}


@dataclass(frozen=True, kw_only=True)
class Deployment:
    """The desired state of an endpoint."""

    name: str
    container: Container
    hosting: Hosting

    @property
    def model_name(self) -> str:
        """Name of the model; it ends with a hash of its properties."""
        return self.container.name

    @property
    def config_name(self) -> str:
        """Name of the endpoint configuration; it ends with a hash of its properties."""
        return f"{self.name}-{_hash(self._config())}"

    @property
    def scaling(self) -> Scaling | None:
        """Scaling of the endpoint; None: none."""
        return self.hosting.scaling if isinstance(self.hosting, Instances) else None

    @property
    def instance_type(self) -> str | None:
        """Instance type; None for serverless."""
        hosting = self.hosting
        if isinstance(hosting, Asynchronous):
            hosting = hosting.instances
        return hosting.instance_type if isinstance(hosting, Instances) else None

    def create_model(self) -> Call:
        """CreateModel."""
        return self.container.create(self.model_name)

    def create_config(self) -> Call:
        """CreateEndpointConfig."""
        name = {"EndpointConfigName": self.config_name}
        parameters = {**name, **self._config(), "Tags": tags(self.name)}
        return Call("sagemaker", "CreateEndpointConfig", parameters)

    def create_endpoint(self) -> Call:
        """CreateEndpoint."""
        names = {"EndpointName": self.name, "EndpointConfigName": self.config_name}
        return Call("sagemaker", "CreateEndpoint", {**names, "Tags": tags(self.name)})

    def update_endpoint(self, retain: bool) -> Call:
        """UpdateEndpoint; `retain` keeps the current number of instances of an endpoint that
        scales."""
        names = {"EndpointName": self.name, "EndpointConfigName": self.config_name}
        return Call("sagemaker", "UpdateEndpoint", {**names, "RetainAllVariantProperties": retain})

    def _config(self) -> dict[str, Any]:
        """The endpoint configuration without its name."""
        variant: dict[str, Any] = {"VariantName": VARIANT, "ModelName": self.model_name}
        hosting = self.hosting
        if isinstance(hosting, Serverless):
            variant["ServerlessConfig"] = {
                "MemorySizeInMB": hosting.memory_mb,
                "MaxConcurrency": hosting.max_concurrency,
            }
            return {"ProductionVariants": [variant]}
        if isinstance(hosting, Asynchronous):
            instances = hosting.instances
            failures = Address(hosting.output.bucket, hosting.output.below(FAILURES))
            output = {"S3OutputPath": str(hosting.output), "S3FailurePath": str(failures)}
            topics = {"SuccessTopic": hosting.sns_success, "ErrorTopic": hosting.sns_error}
            given = {name: topic for name, topic in topics.items() if topic}
            notification = {"NotificationConfig": given} if given else {}
            extra = {"AsyncInferenceConfig": {"OutputConfig": {**output, **notification}}}
        else:
            instances, extra = hosting, {}
        variant |= {
            "InstanceType": instances.instance_type,
            "InitialInstanceCount": instances.count,
            "ContainerStartupHealthCheckTimeoutInSeconds": instances.startup_timeout_s,
        }
        return {"ProductionVariants": [variant], **extra}


@dataclass(frozen=True, kw_only=True)
class Batch:
    """A batch transform job: each object below `source` is the body of a request."""

    job: str
    container: Container
    source: Address
    target: Address
    content_type: str
    instance_type: str
    count: int

    def create_model(self) -> Call:
        """CreateModel; the model has the name of the job."""
        return self.container.create(self.job)

    def delete_model(self) -> Call:
        """DeleteModel."""
        return Call("sagemaker", "DeleteModel", {"ModelName": self.job})

    def create_job(self) -> Call:
        """CreateTransformJob."""
        source = {"S3DataType": "S3Prefix", "S3Uri": str(self.source)}
        parameters = {
            "TransformJobName": self.job,
            "ModelName": self.job,
            "BatchStrategy": "SingleRecord",
            "MaxPayloadInMB": BATCH_PAYLOAD_MB,
            "TransformInput": {
                "DataSource": {"S3DataSource": source},
                "ContentType": self.content_type,
                "SplitType": "None",
                "CompressionType": "None",
            },
            "TransformOutput": {
                "S3OutputPath": str(self.target),
                "Accept": "application/json",
                "AssembleWith": "None",
            },
            "TransformResources": {
                "InstanceType": self.instance_type,
                "InstanceCount": self.count,
            },
            "Tags": tags(self.container.owner),
        }
        return Call("sagemaker", "CreateTransformJob", parameters)


def stored(model: str, upload_to: str | None) -> tuple[Address, Call | None]:
    """Address of a model in S3 and, for a local file, the call that uploads it.

    The key of an upload contains a hash of the content. Raises InvalidSetting.
    """
    if model.startswith("s3://"):
        return address(model), None
    archive = Path(model)
    if not (archive.is_file() and model.endswith(".tar.gz")):
        raise InvalidSetting(f"{model}: neither s3://... nor a .tar.gz; `pack` makes one")
    if upload_to is None:
        raise InvalidSetting(f"{model} is on this machine: say by --upload-to where it is to go")
    prefix = address(upload_to)
    place = Address(prefix.bucket, prefix.below(f"{sha256(archive)[:16]}/model.tar.gz"))
    put = {"Bucket": place.bucket, "Key": place.key, "Body": archive}
    return place, Call("s3", "PutObject", put)


def tags(name: str) -> list[dict[str, str]]:
    """Tags for resources of an endpoint."""
    return [{"Key": TAG, "Value": name}]


def _hash(content: object) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:HASHED]

"""Descriptions of deployments, and the calls that create them."""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from maskrcnn_predict.addresses import Address, address
from maskrcnn_sagemaker.aws import Call
from maskrcnn_sagemaker.extra import Extra, merged
from maskrcnn_sagemaker.hosting import (
    LOCAL_STORAGE,
    Asynchronous,
    Capture,
    Component,
    Hosting,
    Instances,
    Network,
    instances,
)
from maskrcnn_sagemaker.scaling import VARIANT, Scaling
from maskrcnn_server.errors import InvalidSetting
from maskrcnn_server.store.downloads import sha256

TAG = "maskrcnn-server"
"""Tag on everything that is created here; its value is the endpoint's name."""
BATCH_PAYLOAD_MB = 20
"""Payload limit of a batch transform job in MiB: the server's default."""
PAYLOAD_VARIABLES = ("MASKRCNN_MAX_PAYLOAD_MB", "SAGEMAKER_MAX_PAYLOAD_IN_MB")
MAX_BATCH_PAYLOAD_MB = 100
HASHED = 10
"""Number of hexadecimal digits of the content hash at the end of a name."""
MADE_HERE = re.compile(rf"-[0-9a-f]{{{HASHED}}}")
"""Suffix of names of models and configurations after the endpoint's name."""
MADE_FOR_JOB = re.compile(r"-\d{14}")
"""Suffix of names of batch transform jobs, and of their models, after the endpoint's name."""


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
    unpacked: bool = False
    """Whether `model_data` is a prefix with the files of a model folder."""
    network: Network = field(default_factory=Network)
    labels: Mapping[str, str] = field(default_factory=dict)
    """Tags for everything that is created, besides ours."""
    kms_key: str | None = None
    """Key that encrypts volumes, captured data, and results."""
    extra: Extra = field(default_factory=dict)

    @property
    def name(self) -> str:
        """Name of the model; it changes with every property."""
        return f"{self.owner}-{_hash([self._content(), self.revision])}"

    def create(self, name: str) -> Call:
        """CreateModel."""
        return self.call("CreateModel", {"ModelName": name, **self._own_content()})

    def call(self, operation: str, parameters: Mapping[str, Any]) -> Call:
        """A call that creates something, with its tags and what the file of extras adds."""
        labels = [{"Key": key, "Value": value} for key, value in self.labels.items()]
        tagged = {**parameters, "Tags": [*tags(self.owner), *labels]}
        return Call("sagemaker", operation, merged(tagged, self.extra.get(operation, {})))

    def _content(self) -> dict[str, Any]:
        """The model without its name and tags."""
        return merged(self._own_content(), untagged(self.extra.get("CreateModel", {})))

    def _own_content(self) -> dict[str, Any]:
        """The same without what the file of extras adds."""
        container = {
            "Image": self.image,
            **self._model_data(),
            "Environment": dict(sorted(self.environment.items())),
            **({"Mode": "MultiModel"} if self.multi_model else {}),
        }
        content = {"PrimaryContainer": container, "ExecutionRoleArn": self.role}
        return {**content, **self.network.parameters()}

    def _model_data(self) -> dict[str, Any]:
        if not self.unpacked:
            return {"ModelDataUrl": self.model_data}
        kind = {"S3DataType": "S3Prefix", "CompressionType": "None"}
        return {"ModelDataSource": {"S3DataSource": {"S3Uri": self.model_data, **kind}}}


@dataclass(frozen=True, kw_only=True)
class Deployment:
    """The desired state of an endpoint."""

    name: str
    container: Container
    hosting: Hosting
    capture: Capture | None = None

    @property
    def model_name(self) -> str:
        """Name of the model; it ends with a hash of its properties."""
        return self.container.name

    @property
    def config_name(self) -> str:
        """Name of the endpoint configuration; it ends with a hash of its properties."""
        return f"{self.name}-{_hash(self._config())}"

    @property
    def instances(self) -> Instances | None:
        """Instances; None for serverless."""
        return instances(self.hosting)

    @property
    def scaling(self) -> Scaling | None:
        """Scaling of the endpoint; None: none."""
        return None if self.instances is None else self.instances.scaling

    @property
    def instance_type(self) -> str | None:
        """Instance type; None for serverless."""
        return None if self.instances is None else self.instances.instance_type

    @property
    def component(self) -> Component | None:
        """Copies of the model; None: the endpoint itself has the model."""
        return self.hosting if isinstance(self.hosting, Component) else None

    def create_model(self) -> Call:
        """CreateModel."""
        return self.container.create(self.model_name)

    def create_config(self) -> Call:
        """CreateEndpointConfig."""
        name = {"EndpointConfigName": self.config_name}
        return self.container.call("CreateEndpointConfig", {**name, **self._own_config()})

    def create_endpoint(self) -> Call:
        """CreateEndpoint."""
        names = {"EndpointName": self.name, "EndpointConfigName": self.config_name}
        return self.container.call("CreateEndpoint", names)

    def create_component(self) -> Call:
        """CreateInferenceComponent; it has the endpoint's name."""
        copies = {"CopyCount": self.instances.count if self.instances else 1}
        named = {"EndpointName": self.name, "VariantName": VARIANT, "RuntimeConfig": copies}
        return self.container.call("CreateInferenceComponent", {**self._component(), **named})

    def update_component(self) -> Call:
        """UpdateInferenceComponent; the number of copies of what scales stays."""
        copies = {"CopyCount": self.instances.count if self.instances else 1}
        count = {} if self.scaling else {"RuntimeConfig": copies}
        parameters = {**self._component(), **count}
        return Call("sagemaker", "UpdateInferenceComponent", parameters)

    def _component(self) -> dict[str, Any]:
        component = self.component
        found = None if component is None else component.specification(self.model_name)
        return {"InferenceComponentName": self.name, "Specification": found}

    def update_endpoint(self, retain: bool) -> Call:
        """UpdateEndpoint; `retain` keeps the current number of instances of an endpoint that
        scales."""
        names = {"EndpointName": self.name, "EndpointConfigName": self.config_name}
        parameters = {**names, "RetainAllVariantProperties": retain}
        more = self.container.extra.get("UpdateEndpoint", {})
        return Call("sagemaker", "UpdateEndpoint", merged(parameters, more))

    def _config(self) -> dict[str, Any]:
        """The endpoint configuration without its name and tags."""
        extra = self.container.extra.get("CreateEndpointConfig", {})
        return merged(self._own_config(), untagged(extra))

    def _own_config(self) -> dict[str, Any]:
        """The same without what the file of extras adds."""
        hosting, key = self.hosting, self.container.kms_key
        config: dict[str, Any] = {}
        if isinstance(hosting, Component):
            variant = hosting.variant()
            config |= {
                "ExecutionRoleArn": self.container.role,
                **self.container.network.parameters(),
            }
        else:
            owner = hosting.instances if isinstance(hosting, Asynchronous) else hosting
            variant = {**owner.variant(), "ModelName": self.model_name}
        config["ProductionVariants"] = [variant]
        if isinstance(hosting, Asynchronous):
            config["AsyncInferenceConfig"] = hosting.config(key)
        if key and self.instance_type and not LOCAL_STORAGE.match(self.instance_type):
            config["KmsKeyId"] = key
        if self.capture is not None:
            config["DataCaptureConfig"] = self.capture.config(key)
        return config


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
    ami: str | None = None
    """TransformAmiVersion. None: the default of the instance type."""

    @property
    def payload_mb(self) -> int:
        """Payload limit in MiB, as the container's variables set it."""
        environment = self.container.environment
        given = next((environment[n] for n in PAYLOAD_VARIABLES if environment.get(n)), None)
        try:
            limit = BATCH_PAYLOAD_MB if given is None else int(float(given))
        except ValueError:
            limit = 0
        if not 1 <= limit <= MAX_BATCH_PAYLOAD_MB:
            raise InvalidSetting(
                f"{PAYLOAD_VARIABLES[0]}={given}: batch transform takes 1 to "
                f"{MAX_BATCH_PAYLOAD_MB} MiB"
            )
        return limit

    def create_model(self) -> Call:
        """CreateModel; the model has the name of the job."""
        return self.container.create(self.job)

    def delete_model(self) -> Call:
        """DeleteModel."""
        return Call("sagemaker", "DeleteModel", {"ModelName": self.job})

    def create_job(self) -> Call:
        """CreateTransformJob."""
        source = {"S3DataType": "S3Prefix", "S3Uri": str(self.source)}
        key = self.container.kms_key
        volume_key = key and not LOCAL_STORAGE.match(self.instance_type)
        parameters = {
            "TransformJobName": self.job,
            "ModelName": self.job,
            "BatchStrategy": "SingleRecord",
            "MaxPayloadInMB": self.payload_mb,
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
                **({"KmsKeyId": key} if key else {}),
            },
            "TransformResources": {
                "InstanceType": self.instance_type,
                "InstanceCount": self.count,
                **({"TransformAmiVersion": self.ami} if self.ami else {}),
                **({"VolumeKmsKeyId": key} if volume_key else {}),
            },
        }
        return self.container.call("CreateTransformJob", parameters)


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


def untagged(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters without tags, which do not change what is deployed."""
    return {name: value for name, value in parameters.items() if name != "Tags"}


def _hash(content: object) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:HASHED]

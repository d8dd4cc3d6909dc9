"""Minimum IAM policies for the container and for its deployer.

Actions and resources follow AWS's Service Authorization Reference. Where a resource is `*`, IAM has
no resource for the action.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from maskrcnn_predict.addresses import Address
from maskrcnn_sagemaker.deployment import Batch, Deployment
from maskrcnn_sagemaker.hosting import Asynchronous
from maskrcnn_sagemaker.logs import ENDPOINTS, TRANSFORM_JOBS
from maskrcnn_sagemaker.places import Account, EcrImage
from maskrcnn_sagemaker.scaling import alarm

ANY = "*"
CONFIG = "endpoint-config"
PASSED_TO_SAGEMAKER = {"StringEquals": {"iam:PassedToService": "sagemaker.amazonaws.com"}}
VPC_ACTIONS = (
    "ec2:CreateNetworkInterface",
    "ec2:CreateNetworkInterfacePermission",
    "ec2:DeleteNetworkInterface",
    "ec2:DeleteNetworkInterfacePermission",
    "ec2:DescribeDhcpOptions",
    "ec2:DescribeNetworkInterfaces",
    "ec2:DescribeSecurityGroups",
    "ec2:DescribeSubnets",
    "ec2:DescribeVpcs",
)
"""Actions of a container in a VPC. Source: SageMaker's developer guide, execution role."""
SCALING = "sagemaker.application-autoscaling.amazonaws.com"


@dataclass(frozen=True, kw_only=True)
class Rights:
    """A deployment that needs permissions."""

    account: Account
    name: str
    role: str
    image: EcrImage
    model: Address
    """Prefix of the models, or key of the model."""
    wanted: Deployment | Batch

    def document(self) -> dict[str, Any]:
        """The role's trust and policy, and the deployer's policy, in IAM's form."""
        trust = {
            "Effect": "Allow",
            "Principal": {"Service": "sagemaker.amazonaws.com"},
            "Action": "sts:AssumeRole",
            "Condition": {"StringEquals": {"aws:SourceAccount": self.account.account}},
        }
        return {
            "ExecutionRole": {
                "RoleArn": self.role,
                "TrustPolicy": _policy([trust]),
                "Policy": _policy(self._execution()),
            },
            "Deployer": {"Policy": _policy(self._deployer())},
        }

    def _execution(self) -> list[dict[str, Any]]:
        repository = f"repository/{self.image.repository}"
        pull = [
            "ecr:BatchCheckLayerAvailability",
            "ecr:BatchGetImage",
            "ecr:GetDownloadUrlForLayer",
        ]
        statements = [
            *self._read("Model", self.model),
            _allow("PullImage", pull, self._image_owner().arn("ecr", repository)),
            _allow("LogInToEcr", ["ecr:GetAuthorizationToken"], ANY),
            _allow(
                "Log",
                [
                    "logs:CreateLogGroup",
                    "logs:CreateLogStream",
                    "logs:DescribeLogStreams",
                    "logs:PutLogEvents",
                ],
                *self._log_group(),
            ),
            _allow(
                "Measure",
                ["cloudwatch:PutMetricData"],
                ANY,
                condition={"StringEquals": {"cloudwatch:namespace": [ENDPOINTS, TRANSFORM_JOBS]}},
            ),
        ]
        container = self.wanted.container
        if container.kms_key and container.kms_key.startswith("arn:"):
            actions = ["kms:CreateGrant", "kms:Decrypt", "kms:DescribeKey", "kms:GenerateDataKey"]
            statements.append(_allow("UseKey", actions, container.kms_key))
        if container.network.subnets:
            statements.append(_allow("JoinVpc", VPC_ACTIONS, ANY))
        if isinstance(self.wanted, Deployment) and self.wanted.capture is not None:
            statements.append(self._write("Capture", self.wanted.capture.target))
        if isinstance(self.wanted, Batch):
            statements += self._read("Pictures", self.wanted.source)
            statements.append(self._write("Answers", self.wanted.target))
        elif isinstance(hosting := self.wanted.hosting, Asynchronous):
            statements += self._read("Pictures", hosting.output)
            statements.append(self._write("Answers", hosting.output))
            topics = [topic for topic in (hosting.sns_success, hosting.sns_error) if topic]
            if topics:
                statements.append(_allow("Notify", ["sns:Publish"], *topics))
        return statements

    def _deployer(self) -> list[dict[str, Any]]:
        model, config = (self._sagemaker(kind, f"{self.name}-*") for kind in ("model", CONFIG))
        endpoint = self._sagemaker("endpoint", self.name)
        statements = [
            _allow(
                "Models",
                [f"sagemaker:{verb}Model" for verb in ("Create", "Describe", "Delete")],
                model,
            ),
            _allow(
                "Configurations",
                [f"sagemaker:{verb}EndpointConfig" for verb in ("Create", "Describe", "Delete")],
                config,
            ),
            _allow("List", ["sagemaker:ListEndpointConfigs", "sagemaker:ListModels"], ANY),
            _allow(
                "Endpoint",
                ["sagemaker:CreateEndpoint", "sagemaker:UpdateEndpoint"],
                endpoint,
                config,
            ),
            _allow(
                "EndpointAlone",
                [f"sagemaker:{verb}Endpoint" for verb in ("Describe", "Delete", "Invoke")],
                endpoint,
            ),
            _allow("Tags", ["sagemaker:AddTags", "sagemaker:ListTags"], model, config, endpoint),
            _allow(
                "LookAtImage",
                ["ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer"],
                self._image_owner().arn("ecr", f"repository/{self.image.repository}"),
            ),
            _allow("PassRole", ["iam:PassRole"], self.role, condition=PASSED_TO_SAGEMAKER),
            _allow("ReadLog", ["logs:DescribeLogStreams", "logs:GetLogEvents"], *self._log_group()),
            *self._read("Model", self.model),
            self._write("Model", self.model),
        ]
        if isinstance(self.wanted, Batch):
            job = self._sagemaker("transform-job", f"{self.name}-*")
            verbs = ("Create", "Describe", "Stop")
            actions = [f"sagemaker:{verb}TransformJob" for verb in verbs]
            statements.append(_allow("Jobs", [*actions, "sagemaker:AddTags"], job))
            return statements
        if isinstance(hosting := self.wanted.hosting, Asynchronous):
            statements += [
                _allow("InvokeLater", ["sagemaker:InvokeEndpointAsync"], endpoint),
                *self._read("Answers", hosting.output),
                self._write("Pictures", hosting.output),
            ]
        if self.wanted.component is not None:
            component = self._sagemaker("inference-component", self.name)
            actions = [
                f"sagemaker:{verb}InferenceComponent"
                for verb in ("Create", "Describe", "Update", "Delete")
            ]
            actions += ["sagemaker:AddTags", "sagemaker:InvokeEndpoint"]
            statements.append(_allow("Copies", actions, component, endpoint))
        return statements + self._scaling(endpoint)

    def _scaling(self, endpoint: str) -> list[dict[str, Any]]:
        """`deploy` reads the scaling of the endpoint; the rest is needed if it scales before or
        after."""
        service = "application-autoscaling"
        statements = [
            _allow(
                "LookAtScaling",
                [f"{service}:DescribeScalableTargets", f"{service}:DescribeScalingPolicies"],
                ANY,
            ),
            _allow(
                "EndScaling",
                [f"{service}:DeregisterScalableTarget"],
                self.account.arn(service, "scalable-target/*"),
                condition={"StringEquals": {f"{service}:service-namespace": "sagemaker"}},
            ),
        ]
        if isinstance(self.wanted, Deployment) and self.wanted.scaling is not None:
            linked = f"role/aws-service-role/{SCALING}/*"
            names = (
                f"TargetTracking-endpoint/{self.name}/*",
                f"TargetTracking-inference-component/{self.name}*",
                alarm(self.name),
            )
            alarms = [self.account.arn("cloudwatch", f"alarm:{name}") for name in names]
            partition, account = self.account.partition, self.account.account
            statements += [
                _allow(
                    "Scale",
                    [f"{service}:PutScalingPolicy", f"{service}:RegisterScalableTarget"],
                    self.account.arn(service, "scalable-target/*"),
                    condition={"StringEquals": {f"{service}:service-namespace": "sagemaker"}},
                ),
                _allow("ScaleEndpoint", ["sagemaker:UpdateEndpointWeightsAndCapacities"], endpoint),
                *self._scaling_of_copies(),
                _allow("Alarms", ["cloudwatch:DeleteAlarms", "cloudwatch:PutMetricAlarm"], *alarms),
                _allow("LookAtAlarms", ["cloudwatch:DescribeAlarms"], ANY),
                _allow(
                    "LinkScaling",
                    ["iam:CreateServiceLinkedRole"],
                    f"arn:{partition}:iam::{account}:{linked}",
                    condition={"StringEquals": {"iam:AWSServiceName": SCALING}},
                ),
            ]
        return statements

    def _scaling_of_copies(self) -> list[dict[str, Any]]:
        if isinstance(self.wanted, Batch) or self.wanted.component is None:
            return []
        component = self._sagemaker("inference-component", self.name)
        action = "sagemaker:UpdateInferenceComponentRuntimeConfig"
        return [_allow("ScaleCopies", [action], component)]

    def _image_owner(self) -> Account:
        return Account(self.account.partition, self.image.region, self.image.account)

    def _sagemaker(self, kind: str, name: str) -> str:
        # SageMaker writes the names in its ARNs in lower case.
        return self.account.arn("sagemaker", f"{kind}/{name.lower()}")

    def _log_group(self) -> Sequence[str]:
        group = TRANSFORM_JOBS if isinstance(self.wanted, Batch) else f"{ENDPOINTS}/{self.name}"
        arn = self.account.arn("logs", f"log-group:{group}")
        return arn, f"{arn}:*"

    def _read(self, what: str, where: Address) -> list[dict[str, Any]]:
        bucket = self.account.bucket(where.bucket)
        return [
            _allow(f"Read{what}", ["s3:GetObject"], f"{bucket}/{_below(where)}"),
            _allow(
                f"List{what}",
                ["s3:ListBucket"],
                bucket,
                condition={"StringLike": {"s3:prefix": _below(where)}},
            ),
        ]

    def _write(self, what: str, where: Address) -> dict[str, Any]:
        actions = ["s3:AbortMultipartUpload", "s3:PutObject"]
        place = f"{self.account.bucket(where.bucket)}/{_below(where)}"
        return _allow(f"Write{what}", actions, place)


def _below(where: Address) -> str:
    """Resource pattern for an address and everything below it."""
    if not where.key or where.key.endswith((".tar.gz", "/")):
        return where.key if where.key.endswith(".tar.gz") else f"{where.key}*"
    return f"{where.key}/*"


def _allow(
    name: str, actions: Sequence[str], *resources: str, condition: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    statement: dict[str, Any] = {"Sid": name, "Effect": "Allow", "Action": list(actions)}
    statement["Resource"] = resources[0] if len(resources) == 1 else list(resources)
    return statement if condition is None else {**statement, "Condition": dict(condition)}


def _policy(statements: list[dict[str, Any]]) -> dict[str, Any]:
    return {"Version": "2012-10-17", "Statement": statements}

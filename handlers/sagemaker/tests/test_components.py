"""Inference components: moto has none, so a dictionary plays that part of SageMaker."""

import json
from typing import Any

import boto3
import pytest
from typer.testing import CliRunner, Result

from maskrcnn_handlers.cli.main import program
from maskrcnn_sagemaker import endpoints
from maskrcnn_sagemaker.aws import Aws, Call, Missing
from maskrcnn_sagemaker.components import settle
from maskrcnn_sagemaker.invocations import way
from maskrcnn_server.errors import DeploymentFailed
from maskrcnn_server.plugins import Plugins

pytestmark = pytest.mark.full

app = program(Plugins())

IMAGE = "123456789012.dkr.ecr.us-east-1.amazonaws.com/maskrcnn-server-tensorpack:0.1.0-gpu"
ONE = (
    *("deploy", "demo", "--image", IMAGE, "--role", "arn:aws:iam::123456789012:role/mask-rcnn"),
    *("--model", "s3://models/run/model.tar.gz", "--instance-type", "ml.g4dn.xlarge"),
    *("--component-memory", "4096"),
)
TO_ZERO = (*ONE, "--min-count", "0", "--max-count", "3", "--invocations-per-instance", "30")
Components = dict[str, dict[str, Any]]


def run(*arguments: str) -> Result:
    """The command, whose errors are raised."""
    return CliRunner().invoke(app, [*arguments], catch_exceptions=False)


def operations(*arguments: str) -> list[str]:
    """The calls that a dry run shows."""
    return [call["operation"] for call in json.loads(run(*arguments, "--dry-run").stdout)]


@pytest.fixture
def components(aws: str, monkeypatch: pytest.MonkeyPatch) -> Components:
    """The inference components of the account, in service at once."""
    monkeypatch.setattr(endpoints, "POLL_S", 0)
    from moto.sagemaker.models import SageMakerModelBackend

    # moto asks for a model in every variant.
    check = "validate_production_variants"
    monkeypatch.setattr(SageMakerModelBackend, check, lambda *_: None)
    there: Components = {}
    original = Aws.call

    def call(self: Aws, made: Call) -> Any:
        if not made.operation.endswith("InferenceComponent"):
            if made.operation == "DeleteEndpoint":
                assert not there, "an endpoint with copies on it is not removed"
            return original(self, made)
        name = made.parameters["InferenceComponentName"]
        if made.operation == "CreateInferenceComponent":
            assert name not in there
        elif name not in there:
            raise Missing(f"Could not find {name}")
        if made.operation == "DeleteInferenceComponent":
            del there[name]
        if made.operation in ("CreateInferenceComponent", "UpdateInferenceComponent"):
            there.setdefault(name, {"InferenceComponentStatus": "InService"}).update(
                made.parameters
            )
            count = there[name]["RuntimeConfig"].get("CopyCount")
            there[name]["RuntimeConfig"] = {"CopyCount": count, "DesiredCopyCount": count}
        return there.get(name)

    monkeypatch.setattr(Aws, "call", call)
    assert aws
    return there


def test_copies_are_made_changed_and_removed(components: Components) -> None:
    assert operations(*ONE) == [
        *("CreateModel", "CreateEndpointConfig", "CreateEndpoint", "CreateInferenceComponent"),
    ]
    run(*ONE)
    specification = components["demo"]["Specification"]
    assert specification["ComputeResourceRequirements"] == {
        "MinMemoryRequiredInMb": 4096,
        "NumberOfAcceleratorDevicesRequired": 1,
    }
    config = boto3.client("sagemaker").list_endpoint_configs()["EndpointConfigs"]
    assert len(config) == 1
    assert operations(*ONE) == []
    assert way(Aws("us-east-1"), "demo").component == "demo"
    assert "inference component" in run("status", "demo").output
    run(*ONE, "--env", "MASKRCNN_FORMAT=coco")
    assert components["demo"]["Specification"] != specification
    run("delete", "demo")
    assert components == {}
    assert boto3.client("sagemaker").list_models()["Models"] == []


def test_copies_scale_to_none_and_an_alarm_wakes_them(components: Components) -> None:
    planned = {
        call["operation"]: call["parameters"]
        for call in json.loads(run(*TO_ZERO, "--dry-run").stdout)
    }
    (variant,) = planned["CreateEndpointConfig"]["ProductionVariants"]
    assert "ModelName" not in variant
    scaling = {"Status": "ENABLED", "MinInstanceCount": 0, "MaxInstanceCount": 3}
    assert variant["ManagedInstanceScaling"] == scaling
    assert planned["RegisterScalableTarget"]["ResourceId"] == "inference-component/demo"
    assert planned["RegisterScalableTarget"]["MinCapacity"] == 0
    assert planned["PutMetricAlarm"]["MetricName"] == "NoCapacityInvocationFailures"
    assert components == {}


def test_an_endpoint_with_its_own_model_is_replaced(components: Components) -> None:
    run(*ONE)
    own = operations(*ONE[:-2])
    assert own[:2] == ["DeleteInferenceComponent", "DeleteEndpoint"]
    run(*ONE[:-2])
    assert components == {}
    assert operations(*ONE)[0] == "DeleteEndpoint"


def test_copies_that_fail_show_why_and_are_made_anew(components: Components) -> None:
    run(*ONE)
    components["demo"] |= {"InferenceComponentStatus": "Failed", "FailureReason": "no memory"}
    assert operations(*ONE)[:2] == ["DeleteInferenceComponent", "CreateInferenceComponent"]
    with pytest.raises(DeploymentFailed, match="demo is Failed: no memory"):
        settle(Aws("us-east-1"), "demo", print)

"""`deploy` for accounts with rules, and for instances with GPUs; `--dry-run` shows the calls."""

import json
import re
from pathlib import Path
from typing import Any

import boto3
import botocore.session
import pytest
from typer.testing import CliRunner, Result

from maskrcnn_handlers.cli.main import program
from maskrcnn_sagemaker import endpoints, extra, gpu
from maskrcnn_sagemaker.aws import Aws, Call, Nothing
from maskrcnn_sagemaker.places import image as ecr_image
from maskrcnn_sagemaker.validation import checked
from maskrcnn_server.errors import DeploymentFailed, InvalidSetting
from maskrcnn_server.plugins import Plugins

app = program(Plugins())

REPOSITORY = "123456789012.dkr.ecr.us-east-1.amazonaws.com/maskrcnn-server-tensorpack"
CPU_IMAGE, GPU_IMAGE = f"{REPOSITORY}:0.1.0", f"{REPOSITORY}:0.1.0-gpu"
DEPLOY = (
    *("deploy", "demo", "--role", "arn:aws:iam::123456789012:role/mask-rcnn"),
    *("--model", "s3://models/run/model.tar.gz"),
)
CPU = (*DEPLOY, "--image", CPU_IMAGE, "--instance-type", "ml.m5.xlarge")
GPU = (*DEPLOY, "--image", GPU_IMAGE, "--instance-type", "ml.g4dn.xlarge")
BATCH = ("--batch-input", "s3://models/images", "--batch-output", "s3://models/results")


def run(*arguments: str | Path) -> Result:
    """The command, whose errors are raised."""
    return CliRunner().invoke(app, [*map(str, arguments)], catch_exceptions=False)


def planned(*arguments: str | Path) -> dict[str, dict[str, Any]]:
    """Parameters of the calls that a dry run shows, by operation."""
    calls = json.loads(run(*arguments, "--dry-run").stdout)
    return {call["operation"]: call["parameters"] for call in calls}


def variant(*arguments: str | Path) -> dict[str, Any]:
    found: dict[str, Any] = planned(*arguments)["CreateEndpointConfig"]["ProductionVariants"][0]
    return found


@pytest.fixture(autouse=True)
def _no_account(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(endpoints, "POLL_S", 0)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "absent"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


@pytest.mark.parametrize(
    ("instance_type", "ami"),
    [
        ("ml.g4dn.xlarge", "al2-ami-sagemaker-inference-gpu-2-1"),
        ("ml.g5.2xlarge", "al2-ami-sagemaker-inference-gpu-2-1"),
        ("ml.p4d.24xlarge", "al2-ami-sagemaker-inference-gpu-2-1"),
        ("ml.g6e.xlarge", None),
        ("ml.m5.xlarge", None),
    ],
)
def test_a_gpu_gets_a_driver_that_its_image_can_use(instance_type: str, ami: str | None) -> None:
    assert variant(*GPU, "--instance-type", instance_type).get("InferenceAmiVersion") == ami


def test_a_batch_job_on_a_gpu_gets_its_driver_too() -> None:
    resources = planned(*GPU, *BATCH)["CreateTransformJob"]["TransformResources"]
    assert resources["TransformAmiVersion"] == "al2-ami-sagemaker-batch-gpu-535"


def test_an_ami_that_is_named_is_taken() -> None:
    named = variant(*GPU, "--ami", "al2-ami-sagemaker-inference-gpu-3-1")
    assert named["InferenceAmiVersion"] == "al2-ami-sagemaker-inference-gpu-3-1"


def test_an_image_for_cpus_is_refused_for_a_gpu_unless_it_is_wanted() -> None:
    given = (*CPU, "--instance-type", "ml.g4dn.xlarge")
    with pytest.raises(InvalidSetting, match=r"build_and_push\.sh --gpu us-east-1 tensorpack"):
        run(*given)
    assert "InferenceAmiVersion" not in variant(*given, "--allow-cpu-image")


class Registry:
    """ECR with one image, whose configuration is a file."""

    def __init__(self, folder: Path, labels: dict[str, str]) -> None:
        config = folder / "config.json"
        config.write_text(json.dumps({"config": {"Labels": labels}}))
        self._url = config.as_uri()

    def find(self, call: Call) -> Any:
        if call.operation == "GetDownloadUrlForLayer":
            assert call.parameters["layerDigest"] == "sha256:config"
            return {"downloadUrl": self._url}
        manifest: dict[str, Any] = {"config": {"digest": "sha256:config"}}
        if "imageTag" in call.parameters["imageIds"][0]:
            manifest = {"manifests": [{"digest": "sha256:amd64"}]}
        return {"images": [{"imageManifest": json.dumps(manifest)}]}

    def pages(self, call: Call, key: str) -> Any:
        raise NotImplementedError


@pytest.mark.parametrize(
    ("labels", "uri", "cuda"),
    [
        ({"maskrcnn.cuda": "12.8"}, CPU_IMAGE, "12.8"),
        ({"maskrcnn.cuda": ""}, GPU_IMAGE, ""),
        ({}, GPU_IMAGE, "12"),
        ({}, CPU_IMAGE, ""),
    ],
)
def test_the_label_of_an_image_counts_before_its_tag(
    tmp_path: Path, labels: dict[str, str], uri: str, cuda: str
) -> None:
    assert gpu.cuda_of(Registry(tmp_path, labels), ecr_image(uri)) == cuda
    assert gpu.cuda_of(Nothing(), ecr_image(GPU_IMAGE)) == "12"


def test_cuda_13_needs_the_newest_driver_and_has_no_batch_transform(tmp_path: Path) -> None:
    registry, image = Registry(tmp_path, {"maskrcnn.cuda": "13.0"}), ecr_image(GPU_IMAGE)
    found = gpu.ami(registry, image, "ml.g4dn.xlarge", batch=False, any_image=False)
    assert found == "al2023-ami-sagemaker-inference-gpu-4-1"
    with pytest.raises(InvalidSetting, match="drivers for CUDA 12 at most"):
        gpu.ami(registry, image, "ml.g4dn.xlarge", batch=True, any_image=False)


def test_what_accounts_require_is_in_the_calls() -> None:
    calls = planned(
        *CPU,
        *("--subnet", "subnet-0123456789abcdef0", "--security-group", "sg-0123456789abcdef0"),
        *("--isolate-network", "--kms-key", "alias/mine", "--tag", "team=vision"),
        *("--capture-to", "s3://models/captured", "--capture-percent", "20"),
        *("--volume-gb", "50", "--download-timeout", "900"),
    )
    model, config = calls["CreateModel"], calls["CreateEndpointConfig"]
    assert model["VpcConfig"]["Subnets"] == ["subnet-0123456789abcdef0"]
    assert model["EnableNetworkIsolation"] is True
    assert config["KmsKeyId"] == config["DataCaptureConfig"]["KmsKeyId"] == "alias/mine"
    assert config["DataCaptureConfig"]["InitialSamplingPercentage"] == 20
    machine = config["ProductionVariants"][0]
    assert machine["VolumeSizeInGB"] == 50
    assert machine["ModelDataDownloadTimeoutInSeconds"] == 900
    for call in (model, config, calls["CreateEndpoint"]):
        assert {"Key": "team", "Value": "vision"} in call["Tags"]


def test_the_european_sovereign_cloud_has_arns_and_hosts_of_its_own() -> None:
    image = "123456789012.dkr.ecr.eusc-de-east-1.amazonaws.eu/maskrcnn-server-tensorpack:0.1.0"
    role = "arn:aws-eusc:iam::123456789012:role/mask-rcnn"
    given = (*CPU, "--image", image, "--role", role)
    assert planned(*given)["CreateModel"]["ExecutionRoleArn"] == role
    rights = json.loads(run(*given, "--show-policy").stdout)["Deployer"]["Policy"]["Statement"]
    places = [place for right in rights for place in [right["Resource"]] if place != "*"]
    assert "arn:aws-eusc:" in json.dumps(places)
    assert "arn:aws:" not in json.dumps(places)
    with pytest.raises(InvalidSetting, match="eusc-de-east-1 is in aws-eusc"):
        run(*CPU, "--image", image)


def test_disks_of_the_instance_itself_take_no_key() -> None:
    assert "KmsKeyId" not in planned(*GPU, "--kms-key", "alias/mine")["CreateEndpointConfig"]


def test_a_file_adds_what_has_no_option(tmp_path: Path) -> None:
    file = tmp_path / "extra.yaml"
    file.write_text(
        "CreateEndpointConfig:\n"
        "  ProductionVariants: [{RoutingConfig: {RoutingStrategy: LEAST_OUTSTANDING_REQUESTS}}]\n"
        "  Tags: [{Key: cost, Value: a}]\n"
        "CreateEndpoint:\n"
        "  DeploymentConfig: {AutoRollbackConfiguration: {Alarms: [{AlarmName: errors}]}}\n"
    )
    calls, before = planned(*CPU, "--extra", file), planned(*CPU)
    config = calls["CreateEndpointConfig"]
    (machine,) = config["ProductionVariants"]
    assert machine["RoutingConfig"] == {"RoutingStrategy": "LEAST_OUTSTANDING_REQUESTS"}
    assert machine["InstanceType"] == "ml.m5.xlarge"
    assert [tag["Key"] for tag in config["Tags"]] == ["maskrcnn-server", "cost"]
    assert "AutoRollbackConfiguration" in calls["CreateEndpoint"]["DeploymentConfig"]
    name = "EndpointConfigName"
    assert config[name] != before["CreateEndpointConfig"][name]
    assert calls["CreateModel"] == before["CreateModel"]


def test_the_file_of_the_documentation_fits_awss_description(tmp_path: Path) -> None:
    """Routing, managed scaling, a shadow variant, a canary and alarms; botocore checks each."""
    page = (Path(__file__).parents[3] / "docs/deploy.md").read_text()
    (text,) = re.findall(r"```yaml\n(CreateModel:.*?)```", page, re.DOTALL)
    file = tmp_path / "extra.yaml"
    file.write_text(text)
    added = extra.read(file)
    assert added["UpdateEndpoint"]["DeploymentConfig"]["AutoRollbackConfiguration"]
    config = planned(*CPU, "--extra", file)["CreateEndpointConfig"]
    assert config["ShadowProductionVariants"][0]["VariantName"] == "shadow"
    assert config["ProductionVariants"][0]["ManagedInstanceScaling"]["Status"] == "ENABLED"
    update = {"EndpointName": "demo", "EndpointConfigName": "demo-1", **added["UpdateEndpoint"]}
    assert checked([Call("sagemaker", "UpdateEndpoint", update)])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "CreateEndpointConfig: {ProductionVariants: [{RoutingConfg: {}}]}",
            'CreateEndpointConfig: .*"RoutingConfg"',
        ),
        ("CreateModel: {EnableNetworkIsolation: 7}", "CreateModel: .*EnableNetworkIsolation"),
    ],
)
def test_parameters_that_aws_does_not_know_are_refused_before_any_call(
    tmp_path: Path, text: str, message: str
) -> None:
    file = tmp_path / "extra.yaml"
    file.write_text(text)
    with pytest.raises(InvalidSetting, match=f"(?s){message}"):
        run(*CPU, "--extra", file, "--dry-run")


def test_the_amis_are_known_to_boto3() -> None:
    model = botocore.session.get_session().get_service_model("sagemaker")
    known = model.shape_for("ProductionVariantInferenceAmiVersion").enum
    assert set(gpu.INFERENCE_AMIS.values()) <= set(known)
    assert "TransformAmiVersion" in model.shape_for("TransformResources").members


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("Create: {}", "Create is none of CreateModel"),
        ("CreateModel: [1]", "not a mapping of parameters"),
        ("CreateModel: {ModelName: a}", "`deploy` sets ModelName"),
        ("- a", "not a mapping of operations"),
        ("{", "extra.yaml: "),
    ],
)
def test_a_file_of_extras_that_does_not_fit_is_refused(
    tmp_path: Path, text: str, message: str
) -> None:
    file = tmp_path / "extra.yaml"
    file.write_text(text)
    with pytest.raises(InvalidSetting, match=message):
        extra.read(file)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((*CPU, "--instance-type", "m5.xlarge"), "not an instance type of SageMaker: ml.m5.xlarge"),
        ((*CPU, "--instance-type", "large"), "such as ml.m5.xlarge"),
        ((*GPU, "--instance-type", "ml.p2.xlarge"), "ml.g4dn.xlarge"),
        ((*CPU, "--region", "eu-west-1"), "is in us-east-1"),
        ((*DEPLOY, "--image", CPU_IMAGE, "--serverless-memory", "2500"), "multiple of 1024"),
        (
            (*DEPLOY, "--image", CPU_IMAGE, "--serverless-memory", "2048", "--isolate-network"),
            "serverless endpoints do not have this",
        ),
        ((*CPU, "--subnet", "subnet-0123456789abcdef0"), "go together"),
        ((*CPU, "--subnet", "a", "--security-group", "b"), "not an id such as subnet-"),
        ((*CPU, "--tag", "team"), "--tag team: not NAME=VALUE"),
        ((*CPU, "--skip-bad-images"), "goes with --batch-input"),
        ((*CPU, *BATCH, "--env", "MASKRCNN_MAX_PAYLOAD_MB=200"), "takes 1 to 100 MiB"),
    ],
    ids=lambda value: value[-1] if isinstance(value, tuple) else value,
)
def test_options_that_do_not_fit_are_refused_before_any_call(
    arguments: tuple[str, ...], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Aws, "call", lambda *_: pytest.fail("a call was made"))
    monkeypatch.setattr(Aws, "has_credentials", False)
    with pytest.raises(InvalidSetting) as error:
        run(*arguments, "--dry-run")
    assert message in error.value.message


def test_a_batch_job_follows_the_payload_setting_and_may_skip_bad_images() -> None:
    given = ("--env", "MASKRCNN_MAX_PAYLOAD_MB=60", "--skip-bad-images")
    calls = planned(*CPU, *BATCH, *given)
    assert calls["CreateTransformJob"]["MaxPayloadInMB"] == 60
    environment = calls["CreateModel"]["PrimaryContainer"]["Environment"]
    assert environment["MASKRCNN_ERROR_ENTRIES"] == "true"


@pytest.mark.full
@pytest.mark.usefixtures("aws")
def test_an_endpoint_changes_its_kind_by_being_replaced() -> None:
    run(*CPU)
    serverless = (*DEPLOY, "--image", CPU_IMAGE, "--serverless-memory", "2048")
    calls = list(planned(*serverless))
    assert calls[0] == "DeleteEndpoint"
    assert "UpdateEndpoint" not in calls
    run(*serverless)
    assert "serverless, 2048 MB" in run("status", "demo").output
    assert next(iter(planned(*CPU))) == "DeleteEndpoint"


@pytest.mark.full
@pytest.mark.usefixtures("aws")
def test_an_endpoint_of_a_notebook_is_adopted() -> None:
    client = boto3.client("sagemaker")
    role = "arn:aws:iam::123456789012:role/mask-rcnn"
    container = {"Image": CPU_IMAGE}
    client.create_model(ModelName="old", PrimaryContainer=container, ExecutionRoleArn=role)
    machine = {"VariantName": "AllTraffic", "ModelName": "old", "InstanceType": "ml.m5.xlarge"}
    client.create_endpoint_config(
        EndpointConfigName="old", ProductionVariants=[{**machine, "InitialInstanceCount": 1}]
    )
    client.create_endpoint(EndpointName="demo", EndpointConfigName="old")
    with pytest.raises(DeploymentFailed, match="deploy --adopt"):
        run(*CPU)
    calls = list(planned(*CPU, "--adopt"))
    assert calls == ["AddTags", "CreateModel", "CreateEndpointConfig", "UpdateEndpoint"]
    run(*CPU, "--adopt")
    assert planned(*CPU) == {}


@pytest.mark.full
@pytest.mark.usefixtures("aws")
def test_an_interrupted_deployment_says_that_it_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(endpoints, "perform", interrupt)
    done = run(*CPU)
    assert done.exit_code == 130
    assert "AWS goes on, and its instances cost" in done.output
    assert "delete demo" in done.output


@pytest.mark.full
@pytest.mark.usefixtures("aws")
def test_delete_finds_the_model_of_an_interrupted_job(monkeypatch: pytest.MonkeyPatch) -> None:
    original = Aws.call

    def call(self: Aws, made: Call) -> Any:
        if made.operation == "DescribeTransformJob":
            raise DeploymentFailed("DescribeTransformJob: throttled")
        return original(self, made)

    monkeypatch.setattr(Aws, "call", call)
    with pytest.raises(DeploymentFailed, match="throttled"):
        run(*CPU, *BATCH)
    assert len(boto3.client("sagemaker").list_models()["Models"]) == 1
    run("delete", "demo")
    assert boto3.client("sagemaker").list_models()["Models"] == []

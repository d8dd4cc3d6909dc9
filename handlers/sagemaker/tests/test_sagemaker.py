"""`deploy`, `status` and `delete`: boto3 is the real one, and moto's server plays AWS.

moto has no UpdateEndpoint, and its endpoints are in service at once: the fixture `moto` adds the
operation, and `states` the states that a real endpoint goes through.
"""

import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import boto3
import pytest
from typer.testing import CliRunner, Result

from maskrcnn_handlers.cli.main import program
from maskrcnn_sagemaker import batch, endpoints
from maskrcnn_sagemaker.aws import Aws
from maskrcnn_server.errors import DeploymentFailed, InvalidSetting
from maskrcnn_server.plugins import Plugins

pytestmark = pytest.mark.full

app = program(Plugins())

IMAGE = "123456789012.dkr.ecr.us-east-1.amazonaws.com/maskrcnn-server-tensorpack:0.1.0"
ROLE = "arn:aws:iam::123456789012:role/mask-rcnn"
MODEL = "s3://models/run/model.tar.gz"
COMMON = ("deploy", "demo", "--image", IMAGE, "--role", ROLE)
DEPLOY = (*COMMON, "--model", MODEL)
REAL_TIME = (*DEPLOY, "--instance-type", "ml.m5.xlarge")
SCALED = (*REAL_TIME, "--max-count", "4", "--invocations-per-instance", "30")
KINDS = {
    "real-time": REAL_TIME,
    "scaled": SCALED,
    "serverless": (*DEPLOY, "--serverless-memory", "4096", "--max-concurrency", "8"),
    "asynchronous": (
        *(*REAL_TIME, "--async-output", "s3://models/answers"),
        *("--sns-success", "arn:aws:sns:us-east-1:123456789012:found"),
        *("--sns-error", "arn:aws:sns:us-east-1:123456789012:failed"),
    ),
    "asynchronous-to-zero": (
        *(*REAL_TIME, "--async-output", "s3://models/answers"),
        *("--min-count", "0", "--max-count", "4", "--backlog-per-instance", "5"),
    ),
    "unpacked": (*COMMON, "--instance-type", "ml.m5.xlarge", "--model", "s3://models/run/model/"),
    "batch": (
        *(*REAL_TIME, "--batch-input", "s3://models/pictures"),
        *("--batch-output", "s3://models/answers"),
    ),
}
READS = ("Describe", "List", "Get")


def run(*arguments: str | Path) -> Result:
    """The command, whose errors are raised."""
    return CliRunner().invoke(app, [*map(str, arguments)], catch_exceptions=False)


def refused(*arguments: str | Path) -> str:
    """Why the command fails."""
    with pytest.raises((DeploymentFailed, InvalidSetting)) as error:
        run(*arguments)
    return error.value.message


def client(service: str = "sagemaker") -> Any:
    return boto3.client(service)


def names(kind: str) -> list[str]:
    """The names of all endpoints, endpoint configurations or models."""
    things = getattr(client(), f"list_{kind}s")()
    key = "".join(word.capitalize() for word in kind.split("_"))
    return sorted(thing[f"{key}Name"] for thing in things[f"{key}s"])


def dry_run(*arguments: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(run(*arguments, "--dry-run").stdout)
    return found


def operations(calls: Sequence[dict[str, Any]]) -> list[str]:
    return [call["operation"] for call in calls]


@pytest.fixture(autouse=True)
def _nothing_takes_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(endpoints, "POLL_S", 0)
    monkeypatch.setattr(batch, "POLL_S", 0)


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The calls that AWS gets, as `service:Operation`."""
    made: list[str] = []
    original = Aws.call

    def call(self: Aws, call: Any) -> Any:
        made.append(f"{call.service}:{call.operation}")
        return original(self, call)

    monkeypatch.setattr(Aws, "call", call)
    return made


@pytest.fixture
def states(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Lets the endpoints of moto go through these states."""
    from moto.sagemaker.models import SageMakerModelBackend

    original = SageMakerModelBackend.describe_endpoint

    def set_states(*sequence: str, **fields: str) -> None:
        left = list(sequence)

        def describe(self: Any, name: str) -> Any:
            found = original(self, name)
            state = left.pop(0) if len(left) > 1 else left[0]
            return {**found, "EndpointStatus": state} | (fields if state == sequence[-1] else {})

        monkeypatch.setattr(SageMakerModelBackend, "describe_endpoint", describe)

    return set_states


def changes(made: Sequence[str]) -> list[str]:
    return [call for call in made if not call.partition(":")[2].startswith(READS)]


@pytest.mark.usefixtures("aws")
def test_an_endpoint_is_made_of_a_model_and_a_configuration() -> None:
    done = run(*REAL_TIME, "--env", "MASKRCNN_FORMAT=coco", "--startup-timeout", "900")
    assert "demo is in service" in done.output
    described = client().describe_endpoint(EndpointName="demo")
    config = client().describe_endpoint_config(EndpointConfigName=described["EndpointConfigName"])
    (variant,) = config["ProductionVariants"]
    assert variant["InstanceType"] == "ml.m5.xlarge"
    assert variant["ContainerStartupHealthCheckTimeoutInSeconds"] == 900
    model = client().describe_model(ModelName=variant["ModelName"])
    assert model["ExecutionRoleArn"] == ROLE
    assert model["PrimaryContainer"] == {
        "Image": IMAGE,
        "ModelDataUrl": MODEL,
        "Environment": {"MASKRCNN_FORMAT": "coco"},
    }


@pytest.mark.usefixtures("aws")
@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "batch"])
def test_a_second_run_changes_nothing(kind: str, calls: list[str]) -> None:
    run(*KINDS[kind])
    before = names("endpoint_config"), names("model")
    calls.clear()
    assert "nothing had to change" in run(*KINDS[kind]).output
    assert changes(calls) == []
    assert (names("endpoint_config"), names("model")) == before


@pytest.mark.usefixtures("aws")
def test_an_update_replaces_what_it_has_to(calls: list[str]) -> None:
    run(*REAL_TIME)
    before = names("endpoint_config"), names("model")
    calls.clear()
    run(*REAL_TIME, "--env", "MASKRCNN_FORMAT=coco")
    assert changes(calls) == [
        f"sagemaker:{operation}"
        for operation in (
            *("CreateModel", "CreateEndpointConfig", "UpdateEndpoint"),
            *("DeleteEndpointConfig", "DeleteModel"),
        )
    ]
    after = names("endpoint_config"), names("model")
    assert [len(kind) for kind in after] == [1, 1]
    assert after[0] != before[0]
    assert after[1] != before[1]


@pytest.mark.usefixtures("aws")
def test_a_replaced_archive_is_deployed() -> None:
    client("s3").put_object(Bucket="models", Key="run/model.tar.gz", Body=b"one")
    run(*REAL_TIME)
    (before,) = names("model")
    assert dry_run(*REAL_TIME) == []
    client("s3").put_object(Bucket="models", Key="run/model.tar.gz", Body=b"two")
    run(*REAL_TIME)
    (after,) = names("model")
    assert before != after


@pytest.mark.usefixtures("aws")
def test_a_local_archive_is_uploaded_once(tmp_path: Path, calls: list[str]) -> None:
    archive = tmp_path / "model.tar.gz"
    archive.write_bytes(b"a model")
    options = (*COMMON, "--model", archive, "--upload-to", "s3://models/here")
    planned = dry_run(*map(str, options), "--instance-type", "ml.m5.xlarge")
    run(*options, "--instance-type", "ml.m5.xlarge")
    (item,) = client("s3").list_objects_v2(Bucket="models")["Contents"]
    assert planned[0]["parameters"] == {
        "Bucket": "models",
        "Key": item["Key"],
        "Body": str(archive),
    }
    assert planned[1]["parameters"]["ModelName"] == names("model")[0]
    calls.clear()
    run(*options, "--instance-type", "ml.m5.xlarge")
    assert changes(calls) == []


@pytest.mark.usefixtures("aws")
def test_scaling_comes_changes_and_goes(calls: list[str]) -> None:
    def targets() -> list[tuple[int, int]]:
        found = client("application-autoscaling").describe_scalable_targets(
            ServiceNamespace="sagemaker"
        )["ScalableTargets"]
        return [(target["MinCapacity"], target["MaxCapacity"]) for target in found]

    run(*REAL_TIME)
    calls.clear()
    run(*SCALED)
    register, put = "RegisterScalableTarget", "PutScalingPolicy"
    assert changes(calls) == [f"application-autoscaling:{call}" for call in (register, put)]
    assert targets() == [(1, 4)]
    run(*SCALED, "--max-count", "6")
    assert targets() == [(1, 6)]
    (update,) = (c for c in dry_run(*SCALED, "--env", "A=1") if "Update" in c["operation"])
    assert update["parameters"]["RetainAllVariantProperties"]
    run(*REAL_TIME)
    assert targets() == []


@pytest.mark.usefixtures("aws")
def test_scaling_ends_before_the_instance_type_changes() -> None:
    run(*SCALED)
    planned = operations(dry_run(*SCALED, "--instance-type", "ml.c5.xlarge"))
    assert planned[1:5] == [
        *("DeregisterScalableTarget", "UpdateEndpoint"),
        *("RegisterScalableTarget", "PutScalingPolicy"),
    ]


@pytest.mark.usefixtures("aws")
def test_an_asynchronous_endpoint_scales_to_none_and_an_alarm_wakes_it() -> None:
    def alarms() -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = client("cloudwatch").describe_alarms()["MetricAlarms"]
        return [alarm for alarm in found if alarm["AlarmName"] == "demo-from-zero"]

    to_zero = KINDS["asynchronous-to-zero"]
    run(*to_zero)
    autoscaling = client("application-autoscaling")
    (target,) = autoscaling.describe_scalable_targets(ServiceNamespace="sagemaker")[
        "ScalableTargets"
    ]
    assert (target["MinCapacity"], target["MaxCapacity"]) == (0, 4)
    policies = autoscaling.describe_scaling_policies(ServiceNamespace="sagemaker")
    arns = {policy["PolicyName"]: policy["PolicyARN"] for policy in policies["ScalingPolicies"]}
    (alarm,) = alarms()
    assert alarm["MetricName"] == "HasBacklogWithoutCapacity"
    assert alarm["Dimensions"] == [{"Name": "EndpointName", "Value": "demo"}]
    assert alarm["AlarmActions"] == [arns["from-zero"]]
    run(*to_zero, "--min-count", "1")
    assert alarms() == []
    run(*to_zero)
    run("delete", "demo")
    assert alarms() == []


@pytest.mark.usefixtures("aws")
def test_a_model_folder_in_s3_needs_no_archive() -> None:
    s3 = client("s3")
    s3.put_object(Bucket="models", Key="run/model/checkpoint", Body=b"1")
    run(*KINDS["unpacked"])
    (before,) = names("model")
    source = client().describe_model(ModelName=before)["PrimaryContainer"]["ModelDataSource"]
    assert source["S3DataSource"] == {
        "S3Uri": "s3://models/run/model/",
        "S3DataType": "S3Prefix",
        "CompressionType": "None",
    }
    assert "s3://models/run/model/" in run("status", "demo").output
    s3.put_object(Bucket="models", Key="run/model/checkpoint", Body=b"2")
    run(*KINDS["unpacked"])
    assert names("model") != [before]


@pytest.mark.usefixtures("aws")
def test_a_serverless_endpoint_has_memory_and_no_instances() -> None:
    run(*KINDS["serverless"])
    config = client().describe_endpoint_config(EndpointConfigName=names("endpoint_config")[0])
    (variant,) = config["ProductionVariants"]
    assert variant["ServerlessConfig"] == {"MemorySizeInMB": 4096, "MaxConcurrency": 8}
    assert "InstanceType" not in variant
    assert "serverless, 4096 MB, 8 requests at once" in run("status", "demo").output


@pytest.mark.usefixtures("aws")
def test_an_asynchronous_endpoint_has_a_place_for_answers_and_topics() -> None:
    run(*KINDS["asynchronous"])
    config = client().describe_endpoint_config(EndpointConfigName=names("endpoint_config")[0])
    output = config["AsyncInferenceConfig"]["OutputConfig"]
    assert output["S3OutputPath"] == "s3://models/answers"
    assert output["S3FailurePath"] == "s3://models/answers/failures"
    assert output["NotificationConfig"] == {
        "SuccessTopic": "arn:aws:sns:us-east-1:123456789012:found",
        "ErrorTopic": "arn:aws:sns:us-east-1:123456789012:failed",
    }


@pytest.mark.usefixtures("aws")
def test_a_multi_model_endpoint_is_given_a_prefix() -> None:
    options = (*COMMON, "--model", "s3://models/zoo/", "--multi-model")
    run(*options, "--instance-type", "ml.m5.xlarge")
    container = client().describe_model(ModelName=names("model")[0])["PrimaryContainer"]
    assert container["Mode"] == "MultiModel"
    policy = run(*options, "--instance-type", "ml.m5.xlarge", "--show-policy").stdout
    assert "arn:aws:s3:::models/zoo/*" in policy


@pytest.mark.usefixtures("aws")
def test_a_job_that_cannot_start_leaves_no_model(monkeypatch: pytest.MonkeyPatch) -> None:
    from moto.sagemaker.exceptions import ValidationError
    from moto.sagemaker.models import SageMakerModelBackend

    def refuse(*_: Any, **__: Any) -> None:
        raise ValidationError(message="no such bucket")

    monkeypatch.setattr(SageMakerModelBackend, "create_transform_job", refuse)
    assert "CreateTransformJob: ValidationException: no such bucket" in refused(*KINDS["batch"])
    assert names("model") == []


@pytest.mark.usefixtures("aws")
def test_a_batch_transform_job_runs_and_leaves_no_model(calls: list[str]) -> None:
    planned = dry_run(*KINDS["batch"])
    assert operations(planned) == ["CreateModel", "CreateTransformJob", "DeleteModel"]
    assert "below s3://models/answers" in run(*KINDS["batch"]).output
    made = [f"sagemaker:{operation}" for operation in operations(planned)]
    assert changes(calls) == made
    (summary,) = client().list_transform_jobs()["TransformJobSummaries"]
    job = client().describe_transform_job(TransformJobName=summary["TransformJobName"])
    assert job["TransformInput"]["ContentType"] == "application/x-image"
    assert job["BatchStrategy"] == "SingleRecord"
    assert names("model") == []


@pytest.mark.usefixtures("aws")
def test_a_failed_job_shows_why(monkeypatch: pytest.MonkeyPatch) -> None:
    from moto.sagemaker.models import FakeTransformJob

    made = FakeTransformJob.__init__

    def failing(self: Any, *args: Any, **kwargs: Any) -> None:
        made(self, *args, **kwargs)
        self.transform_job_status, self.failure_reason = "Failed", "AlgorithmError"
        write_log("/aws/sagemaker/TransformJobs", f"{self.transform_job_name}/i-1", "out of memory")

    monkeypatch.setattr(FakeTransformJob, "__init__", failing)
    said = refused(*KINDS["batch"])
    assert "is Failed: AlgorithmError; the container's log ends with:\nout of memory" in said
    assert names("model") == []


@pytest.mark.usefixtures("aws")
def test_delete_leaves_nothing_but_what_others_made(calls: list[str]) -> None:
    client().create_model(
        ModelName="demo-of-somebody", PrimaryContainer={"Image": IMAGE}, ExecutionRoleArn=ROLE
    )
    run(*SCALED)
    planned = operations(json.loads(run("delete", "demo", "--dry-run").stdout))
    calls.clear()
    assert "demo is removed" in run("delete", "demo").output
    assert [call.partition(":")[2] for call in changes(calls)] == planned
    assert (names("endpoint"), names("endpoint_config")) == ([], [])
    assert names("model") == ["demo-of-somebody"]
    assert "there is no demo" in run("delete", "demo").output


@pytest.mark.usefixtures("aws")
def test_an_endpoint_of_somebody_else_is_left_alone() -> None:
    client().create_model(
        ModelName="other", PrimaryContainer={"Image": IMAGE}, ExecutionRoleArn=ROLE
    )
    variant = {"VariantName": "v", "ModelName": "other", "InstanceType": "ml.m5.xlarge"}
    client().create_endpoint_config(
        EndpointConfigName="other", ProductionVariants=[{**variant, "InitialInstanceCount": 1}]
    )
    client().create_endpoint(EndpointName="demo", EndpointConfigName="other")
    assert "was not made by `deploy`" in refused(*REAL_TIME)
    assert "was not made by `deploy`" in refused("delete", "demo")


@pytest.mark.usefixtures("aws")
def test_waiting_shows_the_states(states: Callable[..., None]) -> None:
    states("Creating", "Creating", "InService")
    said = run(*REAL_TIME).output.splitlines()
    assert said[-4:-2] == ["demo: Creating", "demo: InService"]


def write_log(group: str, stream: str, *lines: str) -> None:
    logs = client("logs")
    logs.create_log_group(logGroupName=group)
    logs.create_log_stream(logGroupName=group, logStreamName=stream)
    now = int(time.time() * 1000)
    events = [{"timestamp": now + i, "message": line} for i, line in enumerate(lines)]
    logs.put_log_events(logGroupName=group, logStreamName=stream, logEvents=events)


@pytest.mark.usefixtures("aws")
def test_a_failed_endpoint_shows_why_and_is_replaced(states: Callable[..., None]) -> None:
    write_log("/aws/sagemaker/Endpoints/demo", "AllTraffic/i-1", "loading", "error: no checkpoint")
    states("Creating", "Failed", FailureReason="did not pass the ping health check")
    said = refused(*REAL_TIME)
    assert said.splitlines() == [
        "endpoint demo is Failed: did not pass the ping health check; "
        "the container's log ends with:",
        "loading",
        "error: no checkpoint",
    ]
    status = run("status", "demo")
    assert status.exit_code == 1
    assert "failure: did not pass the ping health check; the container's log" in status.output
    assert "error: no checkpoint" in status.output
    assert operations(dry_run(*REAL_TIME)) == ["DeleteEndpoint", "CreateEndpoint"]


@pytest.mark.usefixtures("aws")
def test_an_update_that_was_rolled_back_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    from moto.sagemaker.responses import SageMakerResponse

    run(*REAL_TIME)
    monkeypatch.setattr(SageMakerResponse, "update_endpoint", lambda _: "{}")
    said = refused(*REAL_TIME, "--env", "A=1")
    assert "endpoint demo is InService, with demo-" in said
    assert "as before: no reason is given" in said


@pytest.mark.usefixtures("aws")
def test_status_says_what_runs() -> None:
    assert "there is no endpoint demo" in refused("status", "demo")
    run(*REAL_TIME, "--env", "SECRET=hidden")
    said = run("status", "demo").output
    for expected in ("InService", "1 of ml.m5.xlarge", IMAGE, MODEL, "SECRET"):
        assert expected in said
    assert "hidden" not in said


@pytest.mark.usefixtures("aws")
@pytest.mark.parametrize("kind", KINDS)
def test_a_dry_run_is_what_is_done(kind: str, calls: list[str]) -> None:
    planned = dry_run(*KINDS[kind])
    assert changes(calls) == []
    calls.clear()
    run(*KINDS[kind])
    assert changes(calls) == [f"{call['service']}:{call['operation']}" for call in planned]


def test_a_dry_run_needs_no_account(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "absent"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    assert operations(dry_run(*REAL_TIME)) == [
        *("CreateModel", "CreateEndpointConfig", "CreateEndpoint"),
    ]
    assert "no credentials" in run(*REAL_TIME, "--dry-run").stderr
    assert "DescribeEndpoint: NoCredentialsError" in refused(*REAL_TIME)


@pytest.mark.usefixtures("aws")
@pytest.mark.parametrize("kind", KINDS)
def test_the_policy_is_valid_and_allows_what_is_called(kind: str, calls: list[str]) -> None:
    document = json.loads(run(*KINDS[kind], "--show-policy").stdout)
    assert calls == []
    execution, deployer = (document[who]["Policy"] for who in ("ExecutionRole", "Deployer"))
    iam = client("iam")
    trust = json.dumps(document["ExecutionRole"]["TrustPolicy"])
    iam.create_role(RoleName="mask-rcnn", AssumeRolePolicyDocument=trust)
    for name, policy in (("execution", execution), ("deployer", deployer)):
        iam.create_policy(PolicyName=name, PolicyDocument=json.dumps(policy))
        sids = [statement["Sid"] for statement in policy["Statement"]]
        assert len(sids) == len(set(sids))
    run(*KINDS[kind])
    run("delete", "demo")
    allowed = {action for s in deployer["Statement"] for action in s["Action"]}
    needed = {call.replace("s3:ListObjectsV2", "s3:ListBucket") for call in calls}
    assert needed <= allowed
    assert not any("*" in action for action in allowed)
    anywhere = {a for s in deployer["Statement"] if s["Resource"] == "*" for a in s["Action"]}
    assert all(action.partition(":")[2].startswith(READS) for action in anywhere)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (DEPLOY, "name either --instance-type or"),
        ((*REAL_TIME, "--serverless-memory", "2048"), "name either --instance-type or"),
        ((*REAL_TIME, "--max-count", "2"), "--max-count goes with --invocations-per-instance"),
        ((*SCALED, "--count", "9"), "not less than --count"),
        ((*SCALED, "--min-count", "0"), "--min-count 0: only asynchronous endpoints"),
        ((*REAL_TIME, "--backlog-per-instance", "5", "--max-count", "2"), "with --async-output"),
        ((*SCALED, "--backlog-per-instance", "5"), "--max-count goes with"),
        ((*DEPLOY, "--serverless-memory", "2048", "--component-memory", "512"), "goes with"),
        ((*SCALED, "--async-output", "s3://models/a"), "scales by --backlog-per-instance"),
        ((*REAL_TIME, "--sns-error", "arn"), "go with --async-output"),
        ((*REAL_TIME, "--batch-input", "s3://models/a"), "go together"),
        ((*REAL_TIME, "--async-output", "models/a"), "not an address such as s3://"),
        ((*REAL_TIME, "--env", "A"), "--env A: not NAME=VALUE"),
        ((*REAL_TIME, "--image", "maskrcnn-server:1"), "takes images from ECR"),
        ((*REAL_TIME, "--role", "admin"), "not a role's ARN"),
        ((*REAL_TIME, "--region", "cn-north-1"), "is in us-east-1: SageMaker in cn-north-1"),
        ((*REAL_TIME, "--model", "model"), "`pack` makes one"),
        ((*REAL_TIME, "--model", "s3://models/run"), "not a .tar.gz"),
        ((*REAL_TIME, "--multi-model"), "not a prefix"),
        (("deploy", "no_name", *REAL_TIME[2:]), "a name has up to 46 letters"),
    ],
    ids=lambda value: value[-1] if isinstance(value, tuple) else value,
)
def test_options_that_do_not_fit_are_refused(arguments: tuple[str, ...], message: str) -> None:
    assert message in refused(*arguments)


class Refusing(BaseHTTPRequestHandler):
    """Stands in for an account that may do nothing."""

    code, message = "", ""

    def do_POST(self) -> None:
        body = json.dumps({"__type": self.code, "message": self.message}).encode()
        self.send_response(400)
        self.send_header("Content-Type", "application/x-amz-json-1.1")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def refusing() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Refusing)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.mark.usefixtures("aws")
@pytest.mark.parametrize(
    ("code", "message", "hint"),
    [
        ("AccessDeniedException", "not authorized", "`deploy --show-policy` prints the rights"),
        ("ExpiredTokenException", "the token is expired", "log in again"),
        ("ResourceLimitExceeded", "limit for ml.p3.2xlarge is 0", "Service Quotas"),
        ("ValidationException", "Could not assume role x", "trust sagemaker.amazonaws.com"),
        ("ThrottledNot", "something else", ""),
    ],
)
def test_what_aws_refuses_is_one_line(
    refusing: str, monkeypatch: pytest.MonkeyPatch, code: str, message: str, hint: str
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", refusing)
    Refusing.code, Refusing.message = code, message
    said = refused("status", "demo")
    assert said.startswith(f"DescribeEndpoint: {code}: {message}")
    assert hint in said
    assert "\n" not in said


def test_without_boto3_the_command_to_install_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "boto3", None)
    assert refused("status", "demo").endswith("pip install 'maskrcnn-server[sagemaker]'")


def test_commands_do_not_import_boto3_before_they_need_it() -> None:
    program = "import maskrcnn_handlers.cli.main, sys; assert 'boto3' not in sys.modules"
    subprocess.run([sys.executable, "-c", program], check=True)

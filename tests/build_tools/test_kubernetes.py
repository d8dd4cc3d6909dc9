"""The chart as Helm renders it, and other manifests, against the schemas of Kubernetes."""

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from maskrcnn_server.settings import variable_names

helm = pytest.importorskip("helm_python", reason="helm-python-sdk is not installed")
kubernetes_validate = pytest.importorskip("kubernetes_validate", reason="not installed")

TOOLS = Path(__file__).parents[2] / "build_tools"
CHART = TOOLS / "kubernetes/maskrcnn-server"
VERSIONS = ("1.30", "1.33")
FOREIGN = {"ScaledObject", "ServiceMonitor", "InferenceService", "RayService"}
"""Kinds that are no part of Kubernetes."""
VALUES: dict[str, dict[str, Any]] = {
    "defaults": {},
    "gpu": {"gpus": 1, "tolerations": [{"key": "nvidia.com/gpu", "operator": "Exists"}]},
    "hpa": {"autoscaling": {"kind": "hpa"}, "model": {"claim": "models"}},
    "keda": {"autoscaling": {"kind": "keda"}, "serviceMonitor": {"enabled": True}},
    "all": {
        "apiKeySecret": "key",
        "env": {"MASKRCNN_MAX_BATCH": "8"},
        "image": {"pullSecrets": [{"name": "registry"}]},
        "nodeSelector": {"pool": "gpu"},
        "podAnnotations": {"a": "b"},
        "serviceMonitor": {"enabled": True},
    },
}


def rendered(values: dict[str, Any]) -> dict[str, Any]:
    """Objects of the chart by kind."""
    texts = helm.Chart.load(CHART).render(values, name="shop", namespace="vision").values()
    objects = [each for text in texts for each in yaml.safe_load_all(text) if each]
    return {each["kind"]: each for each in objects}


def manifests() -> Iterator[Any]:
    """A parameter for each set of values, and each file."""
    for name, values in VALUES.items():
        yield pytest.param(list(rendered(values).values()), id=name)
    for path in sorted((TOOLS / "kubernetes").glob("*.yaml")):
        yield pytest.param(list(yaml.safe_load_all(path.read_text())), id=path.stem)


def pod_specs(objects: list[Any]) -> Iterator[dict[str, Any]]:
    for each in objects:
        spec = each["spec"]
        if "template" in spec:
            yield spec["template"]["spec"]
        elif "rayClusterConfig" in spec:
            cluster = spec["rayClusterConfig"]
            for group in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"]):
                yield group["template"]["spec"]
        elif "predictor" in spec:
            own = ("minReplicas", "maxReplicas", "scaleMetric", "scaleTarget")
            yield {name: value for name, value in spec["predictor"].items() if name not in own}


def test_helm_finds_nothing_wrong() -> None:
    report = helm.lint(CHART, strict=True, kube_version="v1.33.0")
    assert report["errors"] == []
    assert {message["error"] for message in report["messages"]} == {"icon is recommended"}


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("objects", list(manifests()))
def test_every_object_is_one_of_kubernetes(objects: list[Any], version: str) -> None:
    for each in objects:
        if each["kind"] not in FOREIGN:
            kubernetes_validate.validate(each, version, strict=True)


@pytest.mark.parametrize("objects", list(manifests()))
def test_every_pod_is_one_of_kubernetes_without_rights(objects: list[Any]) -> None:
    """By the restricted policy of https://kubernetes.io/docs/concepts/security/pod-security-standards,
    and with a file system that is not written to."""
    for spec in pod_specs(objects):
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a"}, "spec": spec}
        kubernetes_validate.validate(pod, VERSIONS[0], strict=True)
        security = spec["securityContext"]
        assert security["runAsNonRoot"] is True
        assert security["runAsUser"] == 10001
        assert security["seccompProfile"] == {"type": "RuntimeDefault"}
        assert spec["automountServiceAccountToken"] is False
        (container,) = spec["containers"]
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert container["resources"]["limits"]["memory"]
        assert {"/tmp", "/var/cache/maskrcnn"} <= {  # noqa: S108 (mounted)
            mount["mountPath"] for mount in container["volumeMounts"]
        }
        known = {name for names in variable_names().values() for name in names}
        given = {variable["name"] for variable in container.get("env", ())} - {"STORAGE_URI"}
        assert given <= known


def test_the_image_writes_where_a_volume_is_mounted_and_runs_as_this_user() -> None:
    recipe = (TOOLS / "images/Dockerfile").read_text()
    assert "MASKRCNN_CACHE=/var/cache/maskrcnn" in recipe
    assert "ARG RUN_AS=10001:10001" in recipe


def test_a_pod_has_the_time_that_its_end_takes() -> None:
    stop = {"preStopSeconds": 3, "delaySeconds": 40, "drainSeconds": 50}
    spec = rendered({"stop": stop})["Deployment"]["spec"]["template"]["spec"]
    (container,) = spec["containers"]
    assert container["lifecycle"]["preStop"] == {"sleep": {"seconds": 3}}
    variables = {each["name"]: each["value"] for each in container["env"]}
    assert (variables["MASKRCNN_SHUTDOWN_DELAY"], variables["MASKRCNN_DRAIN_TIMEOUT"]) == (
        "40",
        "50",
    )
    assert spec["terminationGracePeriodSeconds"] == 3 + 40 + 50 + 10


def test_a_rollout_takes_no_pod_away_before_another_is_ready() -> None:
    strategy = rendered({})["Deployment"]["spec"]["strategy"]["rollingUpdate"]
    assert strategy == {"maxSurge": 1, "maxUnavailable": 0}


def test_a_gpu_is_asked_for_and_must_be_used() -> None:
    spec = rendered({"gpus": 2})["Deployment"]["spec"]["template"]["spec"]
    (container,) = spec["containers"]
    assert container["resources"]["limits"] == {"cpu": "2", "memory": "4Gi", "nvidia.com/gpu": 2}
    assert {"name": "MASKRCNN_DEVICE", "value": "cuda"} in container["env"]


@pytest.mark.parametrize(
    ("kind", "found"), [("hpa", "HorizontalPodAutoscaler"), ("keda", "ScaledObject")]
)
def test_the_autoscaler_goes_by_requests_that_wait(kind: str, found: str) -> None:
    objects = rendered({"autoscaling": {"kind": kind, "waiting": 7}})
    deployment = objects["Deployment"]
    scaler = objects[found]["spec"]
    assert "replicas" not in deployment["spec"]
    assert scaler["scaleTargetRef"]["name"] == deployment["metadata"]["name"]
    if kind == "hpa":
        (metric,) = scaler["metrics"]
        assert metric["pods"]["metric"]["name"] == "maskrcnn_requests_waiting"
        assert metric["pods"]["target"] == {"type": "AverageValue", "averageValue": "7"}
    else:
        (trigger,) = scaler["triggers"]
        assert trigger["metadata"]["threshold"] == "7"
        assert trigger["metadata"]["query"] == (
            'sum(maskrcnn_requests_waiting{namespace="vision", service="shop-maskrcnn-server"})'
        )


@pytest.mark.parametrize(
    "values",
    [
        {"replica": 3},
        {"replicas": "3"},
        {"autoscaling": {"kind": "vpa"}},
        {"stop": {"delaySeconds": 601}},
        {"env": {"MASKRCNN_MAX_BATCH": 8}},
    ],
    ids=str,
)
def test_a_value_that_means_nothing_is_refused(values: dict[str, Any]) -> None:
    with pytest.raises(helm.HelmValuesError):
        rendered(values)


def test_a_service_and_a_budget_select_the_pods() -> None:
    objects = rendered({})
    labels = objects["Deployment"]["spec"]["template"]["metadata"]["labels"]
    assert objects["Service"]["spec"]["selector"] == labels
    assert objects["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"] == labels


def test_the_unit_is_one_of_systemd(tmp_path: Path) -> None:
    """But for the program, which is not installed there."""
    verify = shutil.which("systemd-analyze")
    if verify is None:
        pytest.skip("systemd is not installed")
    text = (TOOLS / "systemd/maskrcnn-server.service").read_text()
    unit = tmp_path / "maskrcnn-server.service"
    unit.write_text(re.sub(r"ExecStart=\S+", "ExecStart=/bin/true", text))
    done = subprocess.run([verify, "verify", unit], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("name", ["systemd/maskrcnn-server.service", "compose.yaml"])
def test_every_variable_is_a_setting_and_the_end_has_its_time(name: str) -> None:
    text = (TOOLS / name).read_text()
    known = {name for names in variable_names().values() for name in names}
    found = dict(re.findall(r'(MASKRCNN_\w+)(?:=|: )"?([^\s"]+)', text))
    assert found.keys() <= known
    needed = float(found["MASKRCNN_SHUTDOWN_DELAY"]) + float(found["MASKRCNN_DRAIN_TIMEOUT"]) + 5
    (limit,) = re.findall(r"(?:TimeoutStopSec=|stop_grace_period: )(\d+)", text)
    assert float(limit) > needed


def test_what_compose_mounts_is_there() -> None:
    compose = yaml.safe_load((TOOLS / "compose.yaml").read_text())
    mounted = [
        volume.partition(":")[0]
        for service in compose["services"].values()
        for volume in service.get("volumes", ())
        if volume.startswith("./")
    ]
    assert len(mounted) == 5
    assert all((TOOLS / path).is_file() for path in mounted)

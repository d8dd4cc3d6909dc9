"""build_image.sh and push_image.sh, with a stand-in for docker."""

import configparser
import itertools
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.build_tools.conftest import Shell

ROOT = Path(__file__).parents[2]
DIGEST = "sha256:" + "0" * 64
SCRIPTS = ("build_image.sh", "push_image.sh", "smoke_image.sh", "build_and_push.sh")


@pytest.fixture(scope="module")
def version() -> str:
    """The version in setup.cfg."""
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    return config["metadata"]["version"]


@pytest.mark.parametrize("script", SCRIPTS)
def test_without_arguments_a_script_says_how_it_is_used(script: str, shell: "Shell") -> None:
    done = shell.run(script)
    assert done.returncode == 2
    assert done.stderr.startswith(f"{script} ")


def test_image_is_named_for_its_backend_and_version(
    with_docker: Callable[..., "Shell"], version: str
) -> None:
    shell = with_docker()
    done = shell.run("build_image.sh", "aws_samples")
    assert done.returncode == 0, done.stderr
    (build,) = shell.calls("docker", "build")
    assert build[build.index("--tag") + 1] == f"maskrcnn-server-aws-samples:{version}"
    assert build[build.index("--file") + 1].endswith("backends/aws_samples/Dockerfile")
    assert f"VERSION={version}" in build
    assert build[-1] == str(ROOT)
    assert done.stdout.splitlines()[-1].endswith(": 1.50 GB")


def test_arguments_after_the_dashes_go_to_the_tool(with_docker: Callable[..., "Shell"]) -> None:
    shell = with_docker()
    done = shell.run(
        "build_image.sh", "tensorpack", "own:1", "--", "--build-arg", "REQUIREMENTS=tensorflow-gpu"
    )
    assert done.returncode == 0, done.stderr
    (build,) = shell.calls("docker", "build")
    assert build[-3:-1] == ["--build-arg", "REQUIREMENTS=tensorflow-gpu"]
    assert "own:1" in build


def build_arguments(build: list[str]) -> dict[str, str]:
    """Build arguments of a call of docker, by name."""
    pairs = itertools.pairwise(build)
    return dict(value.split("=", 1) for flag, value in pairs if flag == "--build-arg")


def test_one_flag_makes_an_image_for_gpus(
    with_docker: Callable[..., "Shell"], version: str
) -> None:
    shell = with_docker()
    done = shell.run("build_image.sh", "--gpu", "tensorpack")
    assert done.returncode == 0, done.stderr
    (build,) = shell.calls("docker", "build")
    assert f"maskrcnn-server-tensorpack:{version}-gpu" in build
    arguments = build_arguments(build)
    assert (arguments["ENGINE"], arguments["REQUIREMENTS"]) == ("torch", "torch-gpu")
    assert arguments["CUDA"].startswith("12.")
    assert "RUN_AS" not in arguments


def test_backend_that_has_no_gpu_is_refused_with_the_flag(
    with_docker: Callable[..., "Shell"],
) -> None:
    done = with_docker().run("build_image.sh", "--gpu", "onnx")
    assert done.returncode == 1
    assert "onnx computes with OpenVINO" in done.stderr


def test_image_that_runs_as_root_is_asked_for(with_docker: Callable[..., "Shell"]) -> None:
    shell = with_docker()
    assert shell.run("build_image.sh", "--root", "tensorpack").returncode == 0
    (build,) = shell.calls("docker", "build")
    assert build_arguments(build)["RUN_AS"] == "0:0"


def test_unknown_backend_is_refused_before_anything_is_built(
    with_docker: Callable[..., "Shell"],
) -> None:
    done = with_docker().run("build_image.sh", "caffe")
    assert done.returncode == 1
    assert "backends/caffe/Dockerfile" in done.stderr


def test_build_that_fails_ends_the_script(with_docker: Callable[..., "Shell"]) -> None:
    done = with_docker(build=(7, "", "no space\n")).run("build_image.sh", "tensorpack")
    assert done.returncode == 7
    assert "no space" in done.stderr


def test_docker_without_its_daemon_is_not_chosen(with_docker: Callable[..., "Shell"]) -> None:
    shell = with_docker(info=(1, "", "no daemon\n"))
    shell.add("podman", image_inspect=(0, "1500000000\n", ""))
    assert shell.run("build_image.sh", "tensorpack").returncode == 0
    assert shell.calls("podman", "build")
    assert not shell.calls("docker", "build")


def test_tool_that_is_named_is_used_without_asking(with_docker: Callable[..., "Shell"]) -> None:
    shell = with_docker(info=(1, "", ""))
    done = shell.run("build_image.sh", "tensorpack", CONTAINER_TOOL="docker")
    assert done.returncode == 0
    assert not shell.calls("docker", "info")


def test_image_is_pushed_under_every_name_and_its_digest_printed(
    with_docker: Callable[..., "Shell"],
) -> None:
    digests = f"other/x@sha256:1\nhost:5000/a@{DIGEST}\n"
    shell = with_docker(image_inspect=(0, digests, ""))
    done = shell.run("push_image.sh", "own:1", "host:5000/a:1", "host:5000/a:2")
    assert done.returncode == 0, done.stderr
    assert shell.calls("docker", "push") == [["push", "host:5000/a:1"], ["push", "host:5000/a:2"]]
    assert shell.calls("docker", "tag")[0] == ["tag", "own:1", "host:5000/a:1"]
    assert done.stdout.splitlines() == [f"host:5000/a:1@{DIGEST}", f"host:5000/a:2@{DIGEST}"]


def test_name_without_registry_is_refused(with_docker: Callable[..., "Shell"]) -> None:
    done = with_docker().run("push_image.sh", "own:1", "somewhere")
    assert done.returncode == 1
    assert "REGISTRY/REPOSITORY:TAG" in done.stderr


def test_image_that_runs_as_root_is_refused(with_docker: Callable[..., "Shell"]) -> None:
    shell = with_docker(image_inspect=(0, '[{"Config": {"User": ""}}]', ""))
    done = shell.run("smoke_image.sh", "own:1", PYTHON=sys.executable)
    assert done.returncode == 1
    assert "runs as root" in done.stderr

"""build_and_push.sh, with stand-ins for aws and docker."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

pytestmark = pytest.mark.full

if TYPE_CHECKING:
    from tests.build_tools.conftest import Shell

ABSENT = (254, "", "An error occurred (RepositoryNotFoundException) when calling ...\n")
PASSWORD = "secret-of-the-registry"  # noqa: S105 (a stand-in's)
ACCOUNT = "123456789012"
BACKENDS = Path(__file__).parents[2] / "backends"


def add_aws(shell: "Shell", partition: str = "aws", **replies: tuple[int, str, str]) -> None:
    arn = f"arn:{partition}:iam::{ACCOUNT}:user/someone\n"
    shell.add(
        "aws",
        **{
            "ecr_get__login__password": (0, f"{PASSWORD}\n", ""),
            **replies,
        },
    )
    # The two questions about the identity differ in their last words only.
    program = shell.folder / "aws"
    answer = f'if "Arn" in arguments: sys.exit(sys.stdout.write({arn!r}) and 0)\n'
    answer += f'if "Account" in arguments: sys.exit(sys.stdout.write("{ACCOUNT}\\n") and 0)\n'
    text = program.read_text()
    if "sts_get__caller__identity" not in replies:
        program.write_text(text.replace("for words,", answer + "for words,", 1))


@pytest.mark.parametrize(
    ("partition", "region", "host"),
    [
        ("aws", "eu-central-1", "dkr.ecr.eu-central-1.amazonaws.com"),
        ("aws-us-gov", "us-gov-west-1", "dkr.ecr.us-gov-west-1.amazonaws.com"),
        ("aws-cn", "cn-north-1", "dkr.ecr.cn-north-1.amazonaws.com.cn"),
        ("aws-eusc", "eusc-de-east-1", "dkr.ecr.eusc-de-east-1.amazonaws.eu"),
    ],
)
def test_registry_is_the_accounts_in_its_partition(
    with_docker: Callable[..., "Shell"], partition: str, region: str, host: str
) -> None:
    shell = with_docker()
    add_aws(shell, partition)
    done = shell.run("build_and_push.sh", region, "aws_samples")
    assert done.returncode == 0, done.stderr
    uri = f"{ACCOUNT}.{host}/maskrcnn-server-aws-samples"
    pushed = [target for _, target in shell.calls("docker", "push")]
    assert [target.rpartition(":")[0] for target in pushed] == [uri, uri]
    assert done.stdout.splitlines()[-1] == pushed[0]
    assert shell.calls("docker", "login")[0][-1] == f"{ACCOUNT}.{host}"


def test_password_is_given_on_standard_input_and_not_shown(
    with_docker: Callable[..., "Shell"],
) -> None:
    shell = with_docker()
    add_aws(shell)
    done = shell.run("build_and_push.sh", "eu-west-1", "tensorpack")
    assert shell.stdin("docker") == [f"{PASSWORD}\n"]
    assert PASSWORD not in done.stdout + done.stderr
    assert not [call for call in shell.calls("docker") if PASSWORD in call]


def test_repository_that_is_absent_is_created(with_docker: Callable[..., "Shell"]) -> None:
    shell = with_docker()
    add_aws(shell, ecr_describe__repositories=ABSENT)
    done = shell.run("build_and_push.sh", "eu-west-1", "tensorpack", REPOSITORY_PREFIX="team/rcnn")
    assert done.returncode == 0, done.stderr
    (create,) = shell.calls("aws", "ecr", "create-repository")
    assert create[create.index("--repository-name") + 1] == "team/rcnn-tensorpack"
    assert create[create.index("--region") + 1] == "eu-west-1"


def test_repository_that_is_there_is_left_alone(with_docker: Callable[..., "Shell"]) -> None:
    shell = with_docker()
    add_aws(shell)
    assert shell.run("build_and_push.sh", "eu-west-1", "tensorpack").returncode == 0
    assert not shell.calls("aws", "ecr", "create-repository")


def test_without_permission_nothing_is_built(with_docker: Callable[..., "Shell"]) -> None:
    shell = with_docker()
    add_aws(shell, ecr_describe__repositories=(254, "", "AccessDeniedException: no\n"))
    done = shell.run("build_and_push.sh", "eu-west-1", "tensorpack")
    assert done.returncode == 1
    assert "AccessDeniedException" in done.stderr
    assert not shell.calls("docker", "build")
    assert not shell.calls("aws", "ecr", "create-repository")


def test_without_credentials_nothing_is_built(with_docker: Callable[..., "Shell"]) -> None:
    shell = with_docker()
    message = "Unable to locate credentials\n"
    add_aws(shell, sts_get__caller__identity=(253, "", message))
    done = shell.run("build_and_push.sh", "eu-west-1", "tensorpack")
    assert done.returncode == 253
    assert message in done.stderr
    assert not shell.calls("docker", "build")


def test_log_in_that_fails_pushes_nothing(with_docker: Callable[..., "Shell"]) -> None:
    shell = with_docker()
    add_aws(shell, ecr_get__login__password=(255, "", "ExpiredToken\n"))
    done = shell.run("build_and_push.sh", "eu-west-1", "tensorpack")
    assert done.returncode == 255
    assert not shell.calls("docker", "push")


def test_without_backends_every_one_is_built(with_docker: Callable[..., "Shell"]) -> None:
    shell = with_docker()
    add_aws(shell)
    assert shell.run("build_and_push.sh", "eu-west-1").returncode == 0
    assert len(shell.calls("docker", "build")) == len(list(BACKENDS.glob("*/Dockerfile")))


def test_images_for_sagemaker_run_as_root_unless_told_otherwise(
    with_docker: Callable[..., "Shell"],
) -> None:
    shell = with_docker()
    add_aws(shell)
    assert shell.run("build_and_push.sh", "eu-west-1", "tensorpack").returncode == 0
    done = shell.run("build_and_push.sh", "--non-root", "eu-west-1", "tensorpack")
    assert done.returncode == 0, done.stderr
    root, other = shell.calls("docker", "build")
    assert "RUN_AS=0:0" in root
    assert "RUN_AS=0:0" not in other


def test_images_for_gpus_have_tags_of_their_own(with_docker: Callable[..., "Shell"]) -> None:
    shell = with_docker()
    add_aws(shell)
    done = shell.run("build_and_push.sh", "--gpu", "eu-west-1", "tensorpack")
    assert done.returncode == 0, done.stderr
    assert "ENGINE=torch" in shell.calls("docker", "build")[0]
    assert all(call[1].endswith("-gpu") for call in shell.calls("docker", "push"))
    assert done.stdout.splitlines()[-1].endswith("-gpu")


def test_unknown_partition_has_to_be_told_its_host_names(
    with_docker: Callable[..., "Shell"],
) -> None:
    shell = with_docker()
    add_aws(shell, "aws-iso")
    done = shell.run("build_and_push.sh", "us-iso-east-1", "tensorpack")
    assert done.returncode == 1
    assert "ECR_SUFFIX" in done.stderr

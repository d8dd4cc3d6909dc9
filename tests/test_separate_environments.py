"""Which backend serves, in virtual environments that hold one of them, the other, or both."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from maskrcnn_network.checkpoints.rows import channels_last
from maskrcnn_tensorpack.plugin import DEMO

pytestmark = pytest.mark.full

PICTURE = Path(__file__).parent / "demo/golden/shapes-9500003.png"
Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="module")
def environment(
    virtual_environment: Callable[..., Path], wheels: dict[str, Path]
) -> Callable[..., Run]:
    """Makes a virtual environment with some backends; gives what runs `maskrcnn-server` in it."""

    def make(*backends: str) -> Run:
        folders = (
            ".",
            "handlers/annotation_formats",
            "handlers/predict",
            *(f"backends/{b}" for b in ("network", "openvino", *backends)),
        )
        folder = virtual_environment(*(wheels[f] for f in folders))

        def run(*arguments: object, **environ: str) -> "subprocess.CompletedProcess[str]":
            command = [str(folder / "bin/maskrcnn-server"), *map(str, arguments)]
            return subprocess.run(command, env=environ, capture_output=True, text=True, check=False)

        return run

    return make


@pytest.fixture(scope="module")
def only_tensorpack(environment: Callable[..., Run]) -> Run:
    return environment("tensorpack")


@pytest.fixture(scope="module")
def only_aws_samples(environment: Callable[..., Run]) -> Run:
    return environment("aws_samples")


@pytest.fixture(scope="module")
def both(environment: Callable[..., Run]) -> Run:
    return environment("tensorpack", "aws_samples")


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The demo model as each framework saves it, and one whose rows of fc6 show no order."""
    variables = dict(np.load(DEMO / "model/model-6770.npz"))
    fc6 = variables["fastrcnn/fc6/W"]
    unclear = np.random.RandomState(0).permutation(fc6)
    made = {}
    kinds = {"tensorpack": fc6, "aws_samples": channels_last(fc6), "unclear": unclear}
    for kind, kernel in kinds.items():
        made[kind] = tmp_path_factory.mktemp(kind)
        values = {**variables, "fastrcnn/fc6/W": kernel}
        np.savez(made[kind] / "model-1.npz", allow_pickle=False, **values)
        config = (DEMO / "model/config.yaml").read_bytes()
        (made[kind] / "config.yaml").write_bytes(config)
    return made


def test_only_backend_serves(
    only_tensorpack: Run, only_aws_samples: Run, folders: dict[str, Path], tmp_path: Path
) -> None:
    for run, name in ((only_tensorpack, "tensorpack"), (only_aws_samples, "aws_samples")):
        assert f"backends: {name}\n" in run("backends").stdout
        arguments = ("--model", folders[name], "--json", tmp_path / f"{name}.json")
        done = run("predict", PICTURE, *arguments, "--score-threshold", 0.5)
        assert done.returncode == 0, done.stderr
        assert len(json.loads((tmp_path / f"{name}.json").read_text())) >= 8


def test_a_server_needs_the_client(only_tensorpack: Run) -> None:
    done = only_tensorpack("predict", PICTURE, "--url", "http://127.0.0.1:9")
    assert done.returncode == 1
    assert "maskrcnn-client is not installed: pip install maskrcnn-client" in done.stderr


def test_only_backend_refuses_the_others_checkpoint(
    only_tensorpack: Run, only_aws_samples: Run, folders: dict[str, Path]
) -> None:
    for run, other in ((only_tensorpack, "aws_samples"), (only_aws_samples, "tensorpack")):
        done = run("serve", "--model", folders[other], "--port", 0)
        assert done.returncode == 1
        assert "the rows of fastrcnn/fc6/W are channel" in done.stderr


@pytest.mark.parametrize("name", ["tensorpack", "aws_samples"])
def test_of_both_the_one_serves_whose_checkpoint_it_is(
    both: Run, folders: dict[str, Path], name: str
) -> None:
    done = both("doctor", folders[name])
    assert done.returncode == 0
    assert f"would be served by {name}" in done.stdout


def test_unclear_checkpoint_is_served_by_the_backend_that_is_named(
    both: Run, folders: dict[str, Path]
) -> None:
    unclear = both("doctor", folders["unclear"])
    assert unclear.returncode == 1
    assert "could be served by aws_samples, tensorpack: set MASKRCNN_BACKEND" in unclear.stderr
    for name in ("tensorpack", "aws_samples"):
        done = both("doctor", folders["unclear"], MASKRCNN_BACKEND=name)
        assert done.returncode == 0
        assert f"would be served by {name}" in done.stdout


def test_variant_makes_the_checkpoint_one_of_the_older_branch(
    both: Run, folders: dict[str, Path], tmp_path: Path
) -> None:
    options = {"MASKRCNN_BACKEND": "aws_samples", "AWS_SAMPLES_VARIANT": "tf1"}
    arguments = ("--model", folders["tensorpack"], "--json", tmp_path / "tf1.json")
    done = both("predict", PICTURE, *arguments, **options)
    assert done.returncode == 0, done.stderr
    assert len(json.loads((tmp_path / "tf1.json").read_text())) >= 4

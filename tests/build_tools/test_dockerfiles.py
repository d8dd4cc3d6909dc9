"""The images' recipes, and the versions they are built from."""

import configparser
import re
import runpy
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[2]
DOCKERFILES = sorted(ROOT.glob("backends/*/Dockerfile"))
RECIPE = (ROOT / "build_tools/images/Dockerfile").read_text()
LOCK = runpy.run_path(str(ROOT / "build_tools/lock_requirements.py"))
KINDS = ("openvino", "tensorflow", "tensorflow-gpu", "torch-gpu")
ids = pytest.mark.parametrize("path", DOCKERFILES, ids=lambda p: p.parent.name)


def pinned(kind: str) -> dict[str, list[Requirement]]:
    """The requirements of a kind of image, by name."""
    text = (ROOT / f"build_tools/requirements/{kind}.txt").read_text()
    found: dict[str, list[Requirement]] = {}
    for entry in re.split(r"\n(?=\S)", text.strip()):
        requirement = Requirement(entry.partition("\\")[0])
        assert "--hash=sha256:" in entry, f"{requirement.name} has no hash"
        found.setdefault(requirement.name, []).append(requirement)
    return found


def test_every_backend_has_a_recipe() -> None:
    backends = {path.parents[1] for path in ROOT.glob("backends/*/*/backend.py")}
    assert {path.parent for path in DOCKERFILES} == backends


@ids
def test_recipe_of_a_backend_is_the_common_one(path: Path) -> None:
    """If not, run build_tools/write_dockerfiles.sh."""
    head, _, rest = path.read_text().partition("\n")
    assert "build_tools/write_dockerfiles.sh" in head
    recipe = RECIPE.replace("ARG BACKEND", f"ARG BACKEND={path.parent.name}", 1)
    if "maskrcnn-tensorflow" in path.with_name("setup.cfg").read_text():
        recipe = recipe.replace("ARG ENGINE=openvino", "ARG ENGINE=tensorflow", 1)
    assert rest == recipe


def test_recipe_keeps_sagemakers_contract() -> None:
    runtime = RECIPE.rpartition("\nFROM ")[2]
    assert 'ENTRYPOINT ["maskrcnn-server"]' in runtime
    assert 'accept-bind-to-port="true"' in runtime
    assert "ARG RUN_AS=10001:10001" in runtime
    assert "USER ${RUN_AS}" in runtime
    assert "pip" not in runtime


@pytest.mark.parametrize("kind", KINDS)
def test_versions_are_exact_and_fit_what_the_distributions_require(kind: str) -> None:
    found = pinned(kind)
    for requirements in found.values():
        assert all(str(r.specifier).startswith("==") for r in requirements)
    for line in LOCK["direct"](kind):
        requirement = Requirement(line)
        versions = [str(r.specifier).removeprefix("==") for r in found[requirement.name]]
        assert all(requirement.specifier.contains(version) for version in versions), line


def test_images_of_tensorflow_without_a_gpu_have_the_small_one() -> None:
    (small,) = pinned("tensorflow")["tensorflow-cpu"]
    (whole,) = pinned("tensorflow")["tensorflow"]
    assert small.marker is not None
    assert small.marker.evaluate({"platform_machine": "x86_64"})
    assert whole.marker is not None
    assert not whole.marker.evaluate({"platform_machine": "x86_64"})
    assert [n for n in pinned("tensorflow") if n.startswith("nvidia")] == []


def test_image_for_gpus_has_the_cuda_that_sagemakers_drivers_run() -> None:
    """CUDA 12 runs on driver 525 and newer, CUDA 13 on 580 and newer; batch transform has 535."""
    found = pinned("torch-gpu")
    assert "openvino" not in found
    (runtime,) = found["nvidia-cuda-runtime-cu12"]
    assert str(runtime.specifier).startswith("==12.")
    assert not [name for name in found if name.endswith("-cu13")]


def test_recipe_asks_for_a_gpu_only_in_an_image_with_cuda() -> None:
    runtime = RECIPE.rpartition("\nFROM ")[2]
    assert "NVIDIA_VISIBLE_DEVICES=${CUDA:+all}" in runtime
    assert "NVIDIA_DRIVER_CAPABILITIES=${CUDA:+compute,utility}" in runtime
    assert 'maskrcnn.cuda="${CUDA}"' in runtime


def test_images_have_no_framework_but_their_engine() -> None:
    found = pinned("openvino")
    assert "openvino" in found
    heavy = {
        "onnxruntime",
        "tensorflow",
        "tensorflow-cpu",
        "opencv-python-headless",
        "onnx",
        "torch",
    }
    assert not heavy & found.keys()


def test_requirements_are_those_of_the_distributions_in_the_image() -> None:
    installed = set(re.findall(r" \./handlers/(\w+)", RECIPE))
    assert installed == set(LOCK["HANDLERS"])


def test_context_holds_what_the_recipe_installs() -> None:
    allowed = (ROOT / ".dockerignore").read_text().splitlines()
    core = ("LICENSE", "README.md", "pyproject.toml", "setup.cfg", "maskrcnn_server")
    for source in (*core, "handlers", "backends", "build_tools/requirements"):
        assert f"!{source}" in allowed, source


def test_version_is_that_of_the_distribution() -> None:
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    assert re.fullmatch(r"\d+\.\d+\.\d+", config["metadata"]["version"])

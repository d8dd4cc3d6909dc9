"""Who may import whom."""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
DIALECTS = ("tensorpack", "aws_samples", "detectron2", "torchvision", "matterport", "mmdetection")
ENGINES = ("openvino", "torch", "tensorflow")
GRAPHS = {"onnx": "openvino", "tf_object_detection": "tensorflow"}
"""Backends of graphs that others exported, and the engine that runs them."""
AROUND_THE_CORE = (
    "annotation_formats",
    "opentelemetry",
    "playground",
    "plugin_kit",
    "predict",
    "protocols",
    "ray",
    "sagemaker",
    "streaming",
    "study",
    "tiles",
    "torchserve",
    "video",
    "workers",
)
"""Distributions that bring commands, routes, formats, tracers or hosting by hooks."""
PACKAGES = {
    "maskrcnn_server": ROOT / "maskrcnn_server",
    "maskrcnn_handlers": ROOT / "handlers/maskrcnn_handlers",
    **{
        f"maskrcnn_{name}": ROOT / f"handlers/{name}/maskrcnn_{name}"
        for name in ("client", *AROUND_THE_CORE)
    },
    **{
        f"maskrcnn_{name}": ROOT / f"backends/{name}/maskrcnn_{name}"
        for name in ("network", *ENGINES, *DIALECTS, *GRAPHS)
    },
}
CORE = {"maskrcnn_server", "maskrcnn_handlers"}
MAY_IMPORT = {
    "maskrcnn_server": set(),
    "maskrcnn_handlers": {"maskrcnn_server"},
    "maskrcnn_client": set(),
    **{f"maskrcnn_{name}": CORE for name in AROUND_THE_CORE},
    "maskrcnn_playground": {*CORE, "maskrcnn_annotation_formats", "maskrcnn_video"},
    "maskrcnn_predict": {
        *(*CORE, "maskrcnn_annotation_formats", "maskrcnn_client"),
        *("maskrcnn_ray", "maskrcnn_tiles", "maskrcnn_video"),
    },
    "maskrcnn_protocols": {*CORE, "maskrcnn_annotation_formats", "maskrcnn_client"},
    "maskrcnn_ray": {*CORE, "maskrcnn_predict"},
    "maskrcnn_sagemaker": {*CORE, "maskrcnn_annotation_formats", "maskrcnn_predict"},
    "maskrcnn_streaming": {*CORE, "maskrcnn_tiles"},
    "maskrcnn_video": {*CORE, "maskrcnn_annotation_formats"},
    "maskrcnn_study": {
        *(*CORE, "maskrcnn_annotation_formats", "maskrcnn_predict", "maskrcnn_plugin_kit"),
    },
    # The kit is for tests of engines, the workers for the frameworks' own code.
    "maskrcnn_network": {"maskrcnn_server", "maskrcnn_plugin_kit", "maskrcnn_workers"},
    **{f"maskrcnn_{name}": {"maskrcnn_server", "maskrcnn_network"} for name in ENGINES + DIALECTS},
    **{
        f"maskrcnn_{name}": {"maskrcnn_server", "maskrcnn_network", f"maskrcnn_{engine}"}
        for name, engine in GRAPHS.items()
    },
}
FRAMEWORKS = {"cv2", "onnx", "openvino", "tensorflow", "torch", "torchvision"}
WAIST_NEEDS = {"numpy", "pluggy", "pydantic", "typing_extensions", "yaml"}
CLIENT_NEEDS = {"httpx", "numpy", "pydantic"}
S3 = {"boto3", "botocore"}
HTTP = {"starlette", "uvicorn"}
FRONT_ENDS = PACKAGES["maskrcnn_handlers"] / "http"
OBSERVERS = {"prometheus_client": {"metrics.py"}, "opentelemetry": set()}


def modules(package: str) -> Iterator[tuple[Path, set[str]]]:
    """Each file of the package, and the top-level names that it imports."""
    for path in PACKAGES[package].rglob("*.py"):
        names = set()
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                names |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                assert node.level == 0, f"{path}: imports are absolute"
                names.add(str(node.module).partition(".")[0])
        yield path, names


def loaded(path: Path) -> set[str]:
    """The top-level names that a file imports when it is imported itself."""

    def statements(body: list[ast.stmt]) -> Iterator[ast.stmt]:
        for statement in body:
            yield statement
            if isinstance(statement, ast.Try | ast.ClassDef):
                yield from statements(statement.body)

    names = set()
    for statement in statements(ast.parse(path.read_text()).body):
        if isinstance(statement, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in statement.names}
        elif isinstance(statement, ast.ImportFrom):
            names.add(str(statement.module).partition(".")[0])
    return names


@pytest.mark.parametrize("package", PACKAGES)
def test_arrows_point_to_the_waist(package: str) -> None:
    for path, names in modules(package):
        foreign = names & set(PACKAGES) - MAY_IMPORT[package] - {package}
        assert not foreign, f"{path} imports {foreign}"


def test_waist_needs_no_http_and_no_framework() -> None:
    for path, names in modules("maskrcnn_server"):
        allowed = WAIST_NEEDS | set(sys.stdlib_module_names) | {"maskrcnn_server"}
        if path.name == "downloads.py":
            allowed |= S3
        assert names <= allowed, path


def test_every_package_is_known() -> None:
    markers = (ROOT.glob(f"{pattern}/py.typed") for pattern in ("*", "handlers/*", "*/*/*"))
    assert {path.parent for found in markers for path in found} == set(PACKAGES.values())


def test_the_client_needs_three_libraries() -> None:
    """Pillow, supervision and boto3 are imported by who calls what needs them."""
    for path in PACKAGES["maskrcnn_client"].rglob("*.py"):
        allowed = CLIENT_NEEDS | set(sys.stdlib_module_names) | {"maskrcnn_client"}
        assert loaded(path) <= allowed, path


def test_predict_imports_the_client_only_to_ask_servers() -> None:
    for path in PACKAGES["maskrcnn_predict"].rglob("*.py"):
        assert "maskrcnn_client" not in loaded(path), path


def test_no_command_imports_another() -> None:
    for plugin in (path / "plugin.py" for path in PACKAGES.values()):
        if not plugin.exists():
            continue
        commands = {
            node.module
            for function in ast.walk(ast.parse(plugin.read_text()))
            if isinstance(function, ast.FunctionDef) and function.name == "register_commands"
            for node in ast.walk(function)
            if isinstance(node, ast.ImportFrom)
        }
        for command in commands:
            path = plugin.parents[1] / f"{str(command).replace('.', '/')}.py"
            imported = {
                node.module
                for node in ast.walk(ast.parse(path.read_text()))
                if isinstance(node, ast.ImportFrom)
            }
            assert not imported & commands, path


def test_only_front_ends_know_their_library() -> None:
    for path, names in modules("maskrcnn_handlers"):
        assert path.is_relative_to(FRONT_ENDS) or not names & HTTP, path


@pytest.mark.parametrize("library", OBSERVERS)
def test_one_file_at_most_knows_each_library_that_observes(library: str) -> None:
    known = {path.name for path, names in modules("maskrcnn_handlers") if library in names}
    assert known == OBSERVERS[library]


def test_the_network_and_its_dialects_import_no_framework() -> None:
    """But for OpenCV, which resizes where it is there, and the frameworks' own code."""
    for package in ("maskrcnn_network", *(f"maskrcnn_{name}" for name in DIALECTS)):
        for path, names in modules(package):
            allowed = {"resize.py": {"cv2"}, "original.py": FRAMEWORKS}.get(path.name, set())
            assert not names & FRAMEWORKS - allowed, path


def test_only_settings_read_the_environment() -> None:
    for package in ("maskrcnn_server", "maskrcnn_handlers"):
        for path in PACKAGES[package].rglob("*.py"):
            if path.name != "settings.py":
                assert "environ" not in path.read_text().replace("environment", ""), path


def test_folders_of_the_owner_are_no_packages() -> None:
    for folder in ("backends", "handlers", "build_tools", "tests"):
        assert (ROOT / folder).is_dir()
        assert not (ROOT / folder / "__init__.py").exists()

#!/usr/bin/env python3
"""Measure how large and how tangled this project is: lines, dependencies, imports, calls, opens.

measure_house.py [--tree DIR] [--sizes] [--test-s SECONDS] [--ci-s SECONDS] [--json FILE]

The table has: lines and run-time dependencies of each distribution; the longest chain of imports
between modules; our Python calls and files in one JPEG request to a server with the fake backend;
opens of the checkpoint and reads of its largest variable (fc6) by a server that loads the demo
model, and pluggy's managers in that process. `--sizes` also installs distributions into temporary
environments and weighs them. Times of `make test` and `.ci/run` are given by hand. `--tree`
measures another checkout, with the Python that runs this script.
"""

import argparse
import ast
import asyncio
import configparser
import json
import os
import runpy
import shutil
import subprocess
import sys
import tempfile
import threading
import venv
import zipfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from graphlib import TopologicalSorter
from importlib.metadata import distributions
from io import BytesIO
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
OWN = "maskrcnn-"
CORE_PACKAGES = ("maskrcnn_server", "maskrcnn_handlers")
DEMO = "backends/tensorpack/maskrcnn_tensorpack/demo/model"
CHECKPOINT = "model-6770.npz"
FC6 = "fastrcnn/fc6/W.npy"
INSTALLS = {
    "client": ("handlers/client",),
    "core": (".",),
    "core and OpenVINO": (".", "backends/openvino"),
}
"""What is installed to be weighed: folders of distributions."""
CLIENT_AS_EXTRA = ".[client]"
"""What is installed as the client where it has no distribution of its own."""
FAKE_PLUGIN = """from maskrcnn_server import hookimpl
from maskrcnn_plugin_kit.testing import FakeBackend


@hookimpl
def register_backends(register):
    register(FakeBackend())
"""
READY_TIMEOUT_S = 120
WARM_UPS = 3
"""Number of requests before the one whose calls are counted."""


@dataclass(frozen=True)
class Distribution:
    """A folder with a setup.cfg: what its wheel holds and requires."""

    name: str
    folder: Path
    packages: Mapping[str, Path]
    """Folder of each package, by its dotted name."""
    requires: Sequence[str]
    entry_points: str
    """The plugins, as setup.cfg lists them."""

    def modules(self) -> dict[str, Path]:
        """The file of each module, by its dotted name."""
        return {
            package if path.stem == "__init__" else f"{package}.{path.stem}": path
            for package, folder in self.packages.items()
            for path in folder.glob("*.py")
        }

    def lines(self) -> int:
        """Number of lines of Python in the wheel."""
        return sum(len(path.read_text().splitlines()) for path in self.modules().values())

    def dependencies(self) -> list[str]:
        """Names of the required distributions of others."""
        return [name for name in self.requires if not name.startswith(OWN)]


@dataclass
class House:
    """Everything that is measured of a tree."""

    lines: dict[str, int] = field(default_factory=dict)
    dependencies: dict[str, list[str]] = field(default_factory=dict)
    chain: list[str] = field(default_factory=list)
    chain_of_core: list[str] = field(default_factory=list)
    request: dict[str, Any] = field(default_factory=dict)
    load: dict[str, Any] = field(default_factory=dict)
    sizes: dict[str, dict[str, int]] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)


def main() -> None:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--tree", type=Path, default=ROOT)
    parser.add_argument("--sizes", action="store_true", help="install and weigh")
    parser.add_argument("--test-s", type=float, help="seconds that `make test` took")
    parser.add_argument("--ci-s", type=float, help="seconds that `.ci/run` took")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--probe", nargs=2, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.probe:
        _probe(given.tree, *given.probe)
        return
    tree = given.tree.resolve()
    own = read_distributions(tree)
    house = House()
    house.lines = {one.name: one.lines() for one in own}
    house.dependencies = {one.name: one.dependencies() for one in own}
    modules = {name: path for one in own for name, path in one.modules().items()}
    core = {name: path for name, path in modules.items() if name.startswith(CORE_PACKAGES)}
    house.chain, house.chain_of_core = longest_chain(modules), longest_chain(core)
    house.request = probed(tree, own, "request")
    house.load = probed(tree, own, "load")
    if given.sizes:
        house.sizes = {name: _installed(tree, own, name) for name in INSTALLS}
    times = {"make test": given.test_s, ".ci/run": given.ci_s}
    house.seconds = {name: seconds for name, seconds in times.items() if seconds is not None}
    sys.stdout.writelines(f"{line}\n" for line in _table(house))
    if given.json:
        given.json.write_text(json.dumps(asdict(house), indent=1) + "\n")


def _table(house: House) -> Iterator[str]:
    yield "| measure | value |"
    yield "| --- | --- |"
    for name, lines in house.lines.items():
        needs = house.dependencies[name]
        named = f" ({', '.join(needs)})" if needs else ""
        yield f"| `{name}` | lines: {lines}; dependencies: {len(needs)}{named} |"
    yield f"| longest import chain of the core | {_arrows(house.chain_of_core)} |"
    yield f"| longest import chain of all | {_arrows(house.chain)} |"
    request, load = house.request, house.load
    yield f"| one JPEG request: our calls | {request['calls']} in {request['files']} files |"
    for phase in ("before", "while"):
        opens, reads = load[f"opens {phase} loading"], load[f"fc6 read {phase} loading"]
        yield f"| {phase} loading: opens of the checkpoint | {opens} |"
        yield f"| {phase} loading: reads of fc6 | {reads} |"
    yield f"| plugin managers of a server | {load['plugin managers']} |"
    for name, size in house.sizes.items():
        weight = f"{size['MB']} MB, {size['distributions']} distributions"
        yield f"| pip install {name} | {weight} |"
    for name, seconds in house.seconds.items():
        yield f"| {name} | {seconds / 60:.1f} min |"


def _arrows(chain: Sequence[str]) -> str:
    return f"{len(chain)}: {' > '.join(chain)}"


def read_distributions(tree: Path) -> list[Distribution]:
    """The distributions of a checkout, the core first."""
    found = []
    for pattern in ("setup.cfg", "handlers/*/setup.cfg", "backends/*/setup.cfg"):
        for path in sorted(tree.glob(pattern)):
            config = configparser.ConfigParser()
            config.read(path)
            options = config["options"]
            places = dict(_pairs(options.get("package_dir", "")))
            packages = {}
            for package in options["packages"].split():
                top, *rest = package.split(".")
                packages[package] = path.parent.joinpath(places.get(top, top), *rest)
            requires = [_name(line) for line in options["install_requires"].splitlines() if line]
            plugins = config.get("options.entry_points", "maskrcnn_server", fallback="")
            name = config["metadata"]["name"]
            found.append(Distribution(name, path.parent, packages, requires, plugins))
    return found


def _pairs(text: str) -> Iterator[tuple[str, str]]:
    for line in text.splitlines():
        key, equals, value = line.partition("=")
        if equals:
            yield key.strip(), value.strip()


def _name(requirement: str) -> str:
    """The name of what a line requires."""
    end = next((i for i, c in enumerate(requirement) if c in "[<>=!~; "), None)
    return requirement[:end]


def longest_chain(modules: Mapping[str, Path]) -> list[str]:
    """The longest chain of these modules in which each imports the next as it is imported itself.

    Raises CycleError where modules import each other.
    """
    graph = {name: imported(path, modules) - {name} for name, path in modules.items()}
    chains: dict[str, list[str]] = {}
    for name in TopologicalSorter(graph).static_order():
        below = [chains[each] for each in sorted(graph[name])]
        chains[name] = [name, *max(below, key=len, default=[])]
    return max((chains[name] for name in sorted(chains)), key=len, default=[])


def imported(path: Path, modules: Iterable[str]) -> set[str]:
    """Those of the modules that a file imports as it is imported, but for TYPE_CHECKING."""
    found = set()
    for node in _executed(ast.parse(path.read_text()).body):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            inner = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= inner & set(modules) or {node.module}
    return found & set(modules)


def _executed(body: Iterable[ast.stmt]) -> Iterator[ast.stmt]:
    """The statements that run with a module, those in `if`, `try`, `with` and classes included."""
    for node in body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            yield from _executed(node.orelse)
            continue
        yield node
        inside = [child for child in ast.iter_child_nodes(node) if isinstance(child, ast.stmt)]
        for child in ast.iter_child_nodes(node):
            inside += child.body if isinstance(child, ast.ExceptHandler) else []
        yield from _executed(inside)


def probed(tree: Path, own: Sequence[Distribution], probe: str) -> dict[str, Any]:
    """What a probe finds in a process in which the tree's distributions are installed."""
    with tempfile.TemporaryDirectory() as folder:
        site, out = Path(folder) / "site", Path(folder) / "out.json"
        theirs = {one.name: "" for one in distributions() if one.name.startswith(OWN)}
        plugins = theirs | {one.name: one.entry_points for one in own}
        if probe == "request":
            plugins["fake-plugin"] = "fake = fake_plugin"
        for name, entry_points in plugins.items():
            info = site / f"{name.replace('-', '_')}-0.dist-info"
            info.mkdir(parents=True)
            (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 0\n")
            (info / "entry_points.txt").write_text(f"[maskrcnn_server]\n{entry_points}\n")
        (site / "fake_plugin.py").write_text(FAKE_PLUGIN)
        homes = {home.parent for one in own for home in one.packages.values()}
        tops = [home for home in homes if not (home / "__init__.py").exists()]
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("MASKRCNN_", "SM_"))}
        env = kept | {"PYTHONPATH": os.pathsep.join(map(str, [site, *tops])), "HOME": folder}
        command = [sys.executable, __file__, "--tree", str(tree), "--probe", probe, str(out)]
        done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
        if not out.exists():
            sys.exit(f"the probe {probe} failed:\n{done.stdout}{done.stderr}")
        return dict(json.loads(out.read_text()))


def _probe(tree: Path, name: str, out: str) -> None:
    """Serve in this process, with a stand-in for uvicorn, and write what there is to count."""
    import uvicorn

    with tempfile.TemporaryDirectory() as folder:
        model = ["--model", folder, "--backend", "fake"]
        counting: _Calls | _Opens = _Calls(tree)
        if name == "load":
            model = ["--model", str(tree / DEMO)]
            counting = _Opens(tree)

        def run(server: Any, *_: object, **__: object) -> None:
            found = asyncio.run(counting.over(server.config.app))
            Path(out).write_text(json.dumps(found))

        uvicorn.Server.run = run  # type: ignore[assignment, method-assign]
        sys.argv = ["maskrcnn-server", "--debug", "serve", *model]
        runpy.run_module("maskrcnn_handlers", run_name="__main__")


class _Calls:
    """Counts calls of functions in the core's packages."""

    def __init__(self, tree: Path) -> None:
        self._counts = False
        self._calls: list[str] = []
        self._homes = (f"{tree}/maskrcnn_server/", f"{tree}/handlers/maskrcnn_handlers/")
        # Before any thread is started.
        threading.setprofile(self._called)
        sys.setprofile(self._called)

    async def over(self, app: Any) -> dict[str, object]:
        await _ready(app)
        for _ in range(WARM_UPS):
            await _asked(app, "POST", "/invocations", _jpeg())
        self._counts = True
        status = await _asked(app, "POST", "/invocations", _jpeg())
        self._counts = False
        if status != 200:
            sys.exit(f"the request is answered {status}")
        files = {call.partition(":")[0] for call in self._calls}
        functions = dict(Counter(self._calls).most_common())
        return {"calls": len(self._calls), "files": len(files), "functions": functions}

    def _called(self, frame: Any, event: str, _: object) -> None:
        if self._counts and event == "call":
            file = frame.f_code.co_filename
            if file.startswith(self._homes):
                name = getattr(frame.f_code, "co_qualname", frame.f_code.co_name)
                self._calls.append(f"{file}:{name}")


class _Opens:
    """Counts opens of the demo's checkpoint, and how often all of fc6 is read."""

    def __init__(self, tree: Path) -> None:
        import pluggy

        from maskrcnn_network.dialect import Dialect

        self._phase = "before"
        self._opens = {"before": 0, "while": 0}
        self._read = {"before": 0, "while": 0}
        self._managers = 0
        with zipfile.ZipFile(tree / DEMO / CHECKPOINT) as archive:
            self._size = archive.getinfo(FC6).file_size
        sys.addaudithook(self._heard)
        _wrap(zipfile.ZipExtFile, "read", after=self._was_read)
        _wrap(Dialect, "load", before=self._begins)
        _wrap(pluggy.PluginManager, "__init__", before=self._managed)

    async def over(self, app: Any) -> dict[str, object]:
        await _ready(app)
        found: dict[str, object] = {"plugin managers": self._managers}
        for phase in ("before", "while"):
            found[f"opens {phase} loading"] = self._opens[phase]
            found[f"fc6 read {phase} loading"] = round(self._read[phase] / self._size, 2)
        return found

    def _heard(self, event: str, arguments: tuple[object, ...]) -> None:
        if event == "open" and str(arguments[0]).endswith(CHECKPOINT):
            self._opens[self._phase] += 1

    def _was_read(self, member: Any, content: bytes) -> None:
        if member.name == FC6:
            self._read[self._phase] += len(content)

    def _begins(self) -> None:
        self._phase = "while"

    def _managed(self) -> None:
        self._managers += 1


def _wrap(
    owner: type,
    name: str,
    before: Callable[[], None] = lambda: None,
    after: Callable[[Any, Any], None] = lambda *_: None,
) -> None:
    """Have calls of a method noted."""
    method = getattr(owner, name)

    def wrapped(self: Any, *args: Any, **kwargs: Any) -> Any:
        before()
        result = method(self, *args, **kwargs)
        after(self, result)
        return result

    setattr(owner, name, wrapped)


async def _ready(app: Any) -> None:
    for _ in range(10 * READY_TIMEOUT_S):
        if await _asked(app, "GET", "/ping") == 200:
            return
        await asyncio.sleep(0.1)
    sys.exit("the server does not get ready")


async def _asked(app: Any, method: str, path: str, body: bytes = b"") -> int:
    """The status of the answer that an ASGI application gives."""
    events = [{"type": "http.request", "body": body, "more_body": False}]
    statuses = []

    async def receive() -> object:
        return events.pop() if events else await asyncio.Event().wait()

    async def send(message: Mapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            statuses.append(message["status"])

    headers = [(b"host", b"test"), (b"content-type", b"image/jpeg")]
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "path": path,
        "raw_path": path.encode(),
        "root_path": "",
        "scheme": "http",
        "query_string": b"",
        "headers": [*headers, (b"content-length", str(len(body)).encode())],
        "server": ("test", 80),
        "client": ("test", 1),
    }
    await app(scope, receive, send)
    return int(statuses[0])


def _jpeg() -> bytes:
    """An image in which the fake backend finds three objects."""
    from PIL import Image

    image = Image.new("RGB", (640, 480))
    for place, colour in enumerate(((255, 0, 0), (0, 255, 0), (0, 0, 255))):
        image.paste(colour, (200 * place, 100, 200 * place + 100, 200))
    file = BytesIO()
    image.save(file, "JPEG")
    return file.getvalue()


def _installed(tree: Path, own: Sequence[Distribution], what: str) -> dict[str, int]:
    """MB (10^6 bytes) and number of distributions that pip installs, with what they require."""
    folders = {one.name: one for one in own}
    wanted = [tree / folder for folder in INSTALLS[what]]
    chosen = [one for one in own if one.folder in wanted]
    for one in chosen:
        chosen += [folders[n] for n in one.requires if n in folders and folders[n] not in chosen]
    with tempfile.TemporaryDirectory() as temporary:
        copy, home = Path(temporary) / "tree", Path(temporary) / "venv"
        ignored = shutil.ignore_patterns(".*", "build", "tests", "*.egg-info", "__pycache__")
        shutil.copytree(tree, copy, ignore=ignored)
        places = [str(copy / one.folder.relative_to(tree)) for one in chosen]
        venv.create(home, with_pip=False)
        pip = [sys.executable, "-m", "pip", "--quiet", "--python", str(home / "bin/python")]
        subprocess.run(
            [*pip, "install", *(places or [f"{copy}/{CLIENT_AS_EXTRA}"])],
            check=True,
            env={k: v for k, v in os.environ.items() if k != "PYTHONPATH"},
            stderr=subprocess.DEVNULL,
        )
        (site,) = home.glob("lib/python*/site-packages")
        size = sum(path.stat().st_size for path in site.rglob("*") if path.is_file())
        count = len(list(site.glob("*.dist-info")))
        return {"MB": round(size / 1e6), "distributions": count}


if __name__ == "__main__":
    main()

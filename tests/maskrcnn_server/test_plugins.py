import importlib
import re
import sys
from collections.abc import Callable, Iterator
from importlib.metadata import EntryPoint, distributions, entry_points
from pathlib import Path
from typing import TypeAlias

import pytest
from typer.testing import CliRunner

from maskrcnn_handlers.cli.main import program
from maskrcnn_plugin_kit.testing import FakeBackend
from maskrcnn_server import hookspecs
from maskrcnn_server.backend import Backend
from maskrcnn_server.errors import BackendNotSelected
from maskrcnn_server.hookspecs import PROJECT
from maskrcnn_server.plugins import Plugin, Plugins, api_version, installed, select_backend

Install: TypeAlias = Callable[[str, str], EntryPoint]

HEADER = """\
from types import SimpleNamespace as Named
from maskrcnn_server import hookimpl
"""


def registering(*names: str, hook: str = "register_backends") -> str:
    """The source of a plugin that registers things with these names."""
    calls = "; ".join(f"register(Named(name={name!r}))" for name in names)
    return f"@hookimpl\ndef {hook}(register):\n    {calls or 'pass'}\n"


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """Write a plugin's module; its entry point."""
    monkeypatch.syspath_prepend(tmp_path)
    before = set(sys.modules)

    def write(name: str, source: str) -> EntryPoint:
        (tmp_path / f"plugin_{name}.py").write_text(HEADER + source)
        importlib.invalidate_caches()
        return EntryPoint(name, f"plugin_{name}", PROJECT)

    yield write
    for name in set(sys.modules) - before:
        if name.startswith("plugin_"):
            del sys.modules[name]


@pytest.fixture
def distribute(install: Install, tmp_path: Path) -> Callable[[str, str, str], None]:
    """Install a plugin the way pip does: a distribution that declares its entry point."""

    def write(distribution: str, name: str, source: str) -> None:
        module = distribution.replace("-", "_")
        install(module, source)
        info = tmp_path / f"{module}-1.2.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Name: {distribution}\nVersion: 1.2\n")
        (info / "entry_points.txt").write_text(f"[{PROJECT}]\n{name} = plugin_{module}\n")

    return write


def found_in(folder: Path) -> list[EntryPoint]:
    return [entry for found in distributions(path=[str(folder)]) for entry in found.entry_points]


def names(plugins: Plugins) -> tuple[list[str], list[str]]:
    return [p.name for p in plugins.loaded], [b.name for b in plugins.broken]


def test_a_plugin_brings_backends(install: Install) -> None:
    plugins = Plugins([install("a", registering("one", "two_2", "3_three"))])
    assert list(plugins.backends()) == ["one", "two_2", "3_three"]
    assert plugins.loaded == [Plugin("a", "unknown", "unknown", ("register_backends",))]
    assert plugins.broken == []


@pytest.mark.parametrize("ask", [Plugins.backends, Plugins.formats, Plugins.demos])
def test_each_hook_has_its_own_things(
    install: Install, ask: Callable[[Plugins], dict[str, object]]
) -> None:
    kinds = ("backends", "formats", "demos")
    source = "".join(registering(f"a_{kind}", hook=f"register_{kind}") for kind in kinds)
    plugins = Plugins([install("a", source)])
    assert list(ask(plugins)) == [f"a_{ask.__name__}"]
    assert plugins.loaded[0].hooks == tuple(sorted(f"register_{kind}" for kind in kinds))


def test_plugins_are_asked_in_the_order_of_their_names(install: Install) -> None:
    entries = [install(name, registering(f"of_{name}")) for name in ("c", "a", "b")]
    assert list(Plugins(entries).backends()) == ["of_a", "of_b", "of_c"]


def test_each_hook_is_called_once(install: Install) -> None:
    source = "called = []\n@hookimpl\ndef register_formats(register):\n    called.append(1)\n"
    plugins = Plugins([install("a", source + "    register(Named(name='one'))\n")])
    module = sys.modules["plugin_a"]
    assert module.called == []
    for _ in range(2):
        assert list(plugins.formats()) == ["one"]
        assert plugins.backends() == {}
    assert module.called == [1]


def test_the_plugins_of_a_process_are_found_once() -> None:
    assert installed() is installed()


def test_a_command_that_is_lost_with_its_plugin_names_the_plugin(install: Install) -> None:
    app = program(Plugins([install("core", "raise RuntimeError('no disk')")]))
    outcome = CliRunner().invoke(app, ["backends"])
    message = str(outcome.exception)
    assert message.startswith("no such command: backends; broken plugins: core of unknown: ")
    assert message.endswith("RuntimeError: no disk")


def test_installed_distributions_declare_plugins(
    distribute: Callable[[str, str, str], None], tmp_path: Path
) -> None:
    distribute("a-good-one", "zzz", registering("one"))
    expected = Plugin("zzz", "a-good-one", "1.2", ("register_backends",))
    assert Plugins(found_in(tmp_path)).loaded == [expected]
    assert expected in Plugins().loaded


def test_plugins_of_one_name_do_not_replace_each_other(
    distribute: Callable[[str, str, str], None], tmp_path: Path
) -> None:
    distribute("first-one", "same", registering("first"))
    distribute("second-one", "same", registering("second"))
    plugins = Plugins(found_in(tmp_path))
    assert set(plugins.backends()) == {"first", "second"}
    assert plugins.broken == []


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        pytest.param("raise RuntimeError('no GPU')", "RuntimeError: no GPU", id="raises"),
        pytest.param("raise SystemExit(3)", "SystemExit: 3", id="exits"),
        pytest.param("import no_such_framework", "ModuleNotFoundError: .*framework", id="imports"),
        pytest.param("def (", "SyntaxError: ", id="syntax"),
        pytest.param(registering("x", hook="register_backend"), "'register_backend'", id="typo"),
        pytest.param("@hookimpl\ndef register_backends(regster): ...", "'?regster", id="argument"),
        pytest.param("", "PluginError: plugin_bad implements no hook", id="no hook"),
        pytest.param("def register_backends(register): ...", "no hook", id="not marked"),
    ],
)
def test_a_plugin_that_does_not_load_costs_the_others_nothing(
    source: str, reason: str, install: Install
) -> None:
    good = [install(name, registering(f"of_{name}")) for name in ("a", "c")]
    plugins = Plugins([*good, install("bad", source)])
    assert names(plugins) == (["a", "c"], ["bad"])
    assert re.search(reason, plugins.broken[0].reason)
    assert list(plugins.backends()) == ["of_a", "of_c"]


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ("'2.0'", r"written for plugin API 2.0, this server has 1.3: it takes .* 1.0 to 1.3"),
        ("'1.4'", "written for plugin API 1.4, this server has 1.3"),
        ("'0.9'", "written for plugin API 0.9"),
        ("'1'", "api_version '1': a text such as '1.3' is meant"),
        ("1.0", "api_version 1.0: a text such as"),
        ("None", "api_version None: a text such as"),
        ("'1.0\\n'", "a text such as"),
    ],
)
def test_a_plugin_for_another_interface_is_refused(
    install: Install, monkeypatch: pytest.MonkeyPatch, said: str, reason: str
) -> None:
    monkeypatch.setattr(hookspecs, "API_VERSION", "1.3")
    good = install("good", registering("fine"))
    plugins = Plugins([good, install("bad", f"api_version = {said}\n{registering('x')}")])
    assert list(plugins.backends()) == ["fine"]
    (broken,) = plugins.broken
    assert re.match(f"PluginError: .*{reason}", broken.reason)


@pytest.mark.parametrize(
    ("header", "version"),
    [("", "1.0"), ("api_version = '1.0'\n", "1.0"), ("api_version = '1.3'\n", "1.3")],
)
def test_a_plugin_for_this_interface_or_an_older_one_is_loaded(
    install: Install, monkeypatch: pytest.MonkeyPatch, header: str, version: str
) -> None:
    monkeypatch.setattr(hookspecs, "API_VERSION", "1.3")
    plugins = Plugins([install("a", header + registering("fine"))])
    assert list(plugins.backends()) == ["fine"]
    assert plugins.loaded[0].api_version == version


def test_plugins_of_the_server_say_what_they_were_written_for() -> None:
    for entry in entry_points(group=PROJECT):
        if entry.dist is not None and entry.dist.name.startswith("maskrcnn-"):
            module = entry.load()
            assert module.api_version == api_version(module), entry.name


def test_a_module_that_is_not_there_is_a_broken_plugin() -> None:
    plugins = Plugins([EntryPoint("lost", "no_such_module_anywhere", PROJECT)])
    assert names(plugins) == ([], ["lost"])
    assert plugins.broken[0].reason.startswith("ModuleNotFoundError: ")


def test_a_broken_plugin_is_reported_by_its_distribution(
    distribute: Callable[[str, str, str], None], tmp_path: Path
) -> None:
    distribute("a-bad-one", "bad", "import no_such_framework")
    (broken,) = Plugins(found_in(tmp_path)).broken
    assert (broken.name, broken.distribution) == ("bad", "a-bad-one")


@pytest.mark.parametrize(
    ("then", "reason"),
    [
        ("raise RuntimeError('no GPU')", "RuntimeError: no GPU"),
        ("raise SystemExit(3)", "SystemExit: 3"),
        ("register(Named(name='fine'))", "PluginError: name 'fine' is taken"),
        ("register(Named(name='of_a'))", "PluginError: name 'of_a' is taken"),
        ("register(Named(name='Upper'))", "PluginError: name 'Upper': lower-case letters"),
        ("register(Named(name='with space'))", "PluginError: name 'with space': "),
        ("register(Named(name='-dash'))", "PluginError: name '-dash': "),
        ("register(Named(name='line\\n'))", r"PluginError: name 'line\\n': "),
        ("register(Named(name='größe'))", "PluginError: name 'größe': "),
        ("register(Named(name=''))", "PluginError: name '': "),
        ("register(Named(name=None))", "Error: "),
        ("register(object())", "AttributeError: "),
    ],
)
def test_a_plugin_that_fails_to_register_costs_the_others_nothing(
    then: str, reason: str, install: Install
) -> None:
    good = [install(name, registering(f"of_{name}")) for name in ("a", "c")]
    plugins = Plugins([*good, install("bad", f"{registering('fine')}\n    {then}")])
    for _ in range(2):
        assert list(plugins.backends()) == ["of_a", "of_c"]
        assert names(plugins) == (["a", "c"], ["bad"])
    assert re.match(f"register_backends: .*{reason}", plugins.broken[0].reason)


class Named(FakeBackend):
    def __init__(self, name: str) -> None:
        self.name = name


INSTALLED: dict[str, Backend] = {name: Named(name) for name in ("c", "a", "b")}
ONE: dict[str, Backend] = {"a": Named("a")}


def accepting(*names: str) -> Callable[[Backend], bool]:
    return lambda backend: backend.name in names


def unasked(backend: Backend) -> bool:
    raise AssertionError(f"{backend.name} should not have been asked")


@pytest.mark.parametrize("backends", [INSTALLED, ONE], ids=["three installed", "one installed"])
def test_the_named_backend_is_selected_unasked(backends: dict[str, Backend]) -> None:
    assert select_backend(backends, "a", unasked) is backends["a"]


def test_the_only_backend_is_selected_unasked() -> None:
    assert select_backend(ONE, None, unasked) is ONE["a"]


def test_the_only_backend_that_accepts_the_folder_is_selected() -> None:
    assert select_backend(INSTALLED, None, accepting("b")) is INSTALLED["b"]


@pytest.mark.parametrize(
    ("backends", "name", "accepts", "message"),
    [
        pytest.param({}, None, (), "no backend is installed: install one", id="none installed"),
        pytest.param({}, "a", (), "MASKRCNN_BACKEND=a: .*installed: none", id="named, none"),
        pytest.param(INSTALLED, "d", (), r"MASKRCNN_BACKEND=d: .*a, b, c", id="not installed"),
        pytest.param(ONE, "b", ("a",), "MASKRCNN_BACKEND=b: ", id="another one installed"),
        pytest.param(INSTALLED, "", ("a",), "MASKRCNN_BACKEND=: ", id="named by nothing"),
        pytest.param(
            INSTALLED, None, (), r"no installed backend .*asked: a, b, c\)$", id="no one accepts"
        ),
        pytest.param(
            INSTALLED, None, ("c", "a"), "served by a, c: set MASKRCNN_BACKEND", id="two accept"
        ),
    ],
)
def test_an_unclear_choice_lists_the_choices(
    backends: dict[str, Backend], name: str | None, accepts: tuple[str, ...], message: str
) -> None:
    with pytest.raises(BackendNotSelected, match=message):
        select_backend(backends, name, accepting(*accepts))

"""A plugin of pytest that runs the suite on an installed backend, without a file of tests:

    pytest -p maskrcnn_plugin_kit.testing.pytest_plugin \\
        --pyargs maskrcnn_plugin_kit.testing.suite \\
        --maskrcnn-backend NAME --maskrcnn-model DIR

`maskrcnn-server check-backend NAME --model DIR` is the same with less to type and to read.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from maskrcnn_server.backend import Backend
from maskrcnn_server.errors import BackendNotSelected
from maskrcnn_server.plugins import installed, select_backend

SUITE = "maskrcnn_plugin_kit.testing.suite"
BACKEND = pytest.StashKey[Backend]()
MODEL_DIR = pytest.StashKey[Path]()


@dataclass(frozen=True)
class Checked:
    """Result of one check."""

    name: str
    """Sentence that states what is checked."""
    outcome: str
    """`passed`, `failed` or `skipped`."""
    message: str
    """What is wrong and what to do, or the reason for skipping; empty if passed."""
    seconds: float


class _Run:
    """A run of the suite: its fixtures, and who is told of each check."""

    def __init__(self, backend: Backend, model_dir: Path, heard: Callable[[Checked], None]) -> None:
        self._backend = backend
        self._model_dir = model_dir
        self._heard = heard
        self._setup = ""

    def pytest_configure(self, config: pytest.Config) -> None:
        _give(config, self._backend, self._model_dir)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when != "call" and report.passed:
            return
        sentence = report.nodeid.rpartition("::test_")[2].replace("_", " ")
        message = _message(report)
        if report.when == "setup" and report.failed:
            message, self._setup = _without(message, self._setup), message
        self._heard(Checked(sentence, report.outcome, message, report.duration))


def check(
    backend: Backend,
    model_dir: Path,
    heard: Callable[[Checked], None],
    without: Sequence[str] = (),
) -> bool:
    """Run the suite silently in this process, and report each check. True if all passed.

    Checks whose sentences contain one of the texts in `without` are left out.
    """
    quiet = ["-p", "no:terminal", "-p", "no:cacheprovider", "--config-file", "/dev/null"]
    suite = ["-p", __name__, "--pyargs", SUITE]
    left_out = " or ".join(text.replace(" ", "_") for text in without)
    chosen = ["-k", f"not ({left_out})"] if left_out else []
    run = _Run(backend, model_dir, heard)
    return pytest.main([*quiet, *suite, *chosen], [run]) == pytest.ExitCode.OK


@pytest.fixture(scope="session")
def backend(pytestconfig: pytest.Config) -> Backend:
    """The backend under test."""
    return pytestconfig.stash[BACKEND]


@pytest.fixture(scope="session")
def model_dir(pytestconfig: pytest.Config) -> Path:
    """A folder with a model that it loads."""
    return pytestconfig.stash[MODEL_DIR]


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options for backend and model."""
    group = parser.getgroup("maskrcnn")
    group.addoption("--maskrcnn-backend", metavar="NAME", help="installed backend to check")
    group.addoption(
        "--maskrcnn-model", metavar="DIR", type=Path, help="folder with a model that it loads"
    )


def pytest_configure(config: pytest.Config) -> None:
    """Provide backend and folder as fixtures."""
    name, model_dir = config.getoption("--maskrcnn-backend"), config.getoption("--maskrcnn-model")
    if name is None and model_dir is None:
        return
    if name is None or model_dir is None or not model_dir.is_dir():
        raise pytest.UsageError("--maskrcnn-backend NAME and --maskrcnn-model DIR, a folder")
    try:
        backend = select_backend(installed().backends(), name, lambda _: True)
    except BackendNotSelected as error:
        raise pytest.UsageError(error.message) from None
    _give(config, backend, model_dir)


def _give(config: pytest.Config, backend: Backend, model_dir: Path) -> None:
    config.stash[BACKEND] = backend
    config.stash[MODEL_DIR] = model_dir.resolve()


def _message(report: pytest.TestReport) -> str:
    if report.skipped and isinstance(report.longrepr, tuple):
        return report.longrepr[2].removeprefix("Skipped: ")
    crash = getattr(report.longrepr, "reprcrash", None)
    if crash is None:
        return str(report.longrepr or "")
    first = str(crash.message).partition("\nassert ")[0]
    message = first.removeprefix("AssertionError: ").removeprefix("Failed: ")
    if Path(crash.path).is_relative_to(Path(__file__).parent):
        return message
    return f"{message} ({crash.path}, line {crash.lineno})"


def _without(message: str, earlier: str) -> str:
    """The message, unless a check before had the same: then that."""
    return "no model, as above" if message == earlier else message

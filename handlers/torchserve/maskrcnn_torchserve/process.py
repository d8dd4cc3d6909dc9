"""TorchServe's processes."""

import contextlib
import importlib.util
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException, HTTPMessage
from pathlib import Path

from maskrcnn_server import settings as environment
from maskrcnn_server.errors import StartupError
from maskrcnn_server.hosting.located import choose_backend, locate
from maskrcnn_server.hosting.startup import log_progress
from maskrcnn_server.plugins import Plugins
from maskrcnn_server.settings import Settings
from maskrcnn_torchserve import files
from maskrcnn_torchserve.files import Options

JAVA = 17
INSTALL_JAVA = f"install Java {JAVA} or newer, such as: apt-get install default-jre-headless"
POLL_S = 0.1
WATCH_S = 2.0
PING_S = 10
END_TIMEOUT_S = 5
"""Seconds for TorchServe to end."""


@dataclass(frozen=True)
class Reply:
    """A reply of TorchServe."""

    status: int
    headers: HTTPMessage
    body: bytes


class TorchServe:
    """A TorchServe in a process group of its own, which only this process signals.

    Its files go into `folder`. Raises StartupError if TorchServe or Java is not installed.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._command = command(folder)
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._ending = threading.Event()

    def run(
        self,
        plugins: Plugins,
        settings: Settings,
        options: Options,
        loaded: Callable[[bytes], None],
    ) -> None:
        """Start TorchServe; return when `end` is called.

        `loaded` is called with the body of `/ping` of a server with this model. Raises StartupError
        if there is no such model, or TorchServe or its worker ends.
        """
        self._start(plugins, settings, options)
        waiting = True
        while not self._ending.wait(POLL_S if waiting else WATCH_S):
            self._check()
            if waiting and self._status.exists():
                waiting = False
                loaded(_successful(self._status.read_bytes()))

    def ask(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        timeout_s: float | None = None,
    ) -> Reply:
        """The reply of TorchServe. Raises OSError or HTTPException if there is none."""
        connection = _Connection(files.inference_socket(self._folder), timeout_s)
        with contextlib.closing(connection):
            connection.request(method, path, body, headers or {})
            response = connection.getresponse()
            return Reply(response.status, response.headers, response.read())

    def end(self) -> None:
        """End TorchServe with all its processes."""
        self._ending.set()
        with self._lock:
            process = self._process
        if process is None:
            return
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(END_TIMEOUT_S)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()

    @property
    def ended(self) -> bool:
        """Whether `end` was called."""
        return self._ending.is_set()

    @property
    def _status(self) -> Path:
        return self._folder / "status"

    def _start(self, plugins: Plugins, settings: Settings, options: Options) -> None:
        located = locate(plugins, settings.model, settings, log_progress)
        config = {
            "model": str(located.folder.resolve()),
            "backend": choose_backend(plugins, located).name,
            "directory": str(Path.cwd()),
            "status": str(self._status),
        }
        stand_in = importlib.util.find_spec("torch") is None
        files.write(self._folder, settings, options, config, stand_in)
        with self._lock:
            if not self._ending.is_set():
                self._process = subprocess.Popen(
                    self._command,
                    cwd=self._folder,
                    stdin=subprocess.DEVNULL,
                    stdout=sys.stderr.fileno(),
                    start_new_session=True,
                )

    def _check(self) -> None:
        """Raise StartupError if TorchServe ended or gave up its worker."""
        code = None if self._process is None else self._process.poll()
        if code is not None:
            raise StartupError(f"TorchServe ended with exit code {code}; its last lines say why")
        try:
            status = self.ask("GET", "/ping", timeout_s=PING_S).status
        except (OSError, HTTPException):
            return
        if status >= 500:
            raise StartupError("TorchServe's worker does not run; its last lines say why")


class _Connection(HTTPConnection):
    def __init__(self, path: Path, timeout_s: float | None) -> None:
        super().__init__("torchserve", timeout=timeout_s)
        self._path = str(path)

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


def _successful(status: bytes) -> bytes:
    """The outcome of loading; an error is raised."""
    told = json.loads(status)
    if "code" in told:
        kinds = {kind.code: kind for kind in StartupError.__subclasses__()}
        raise kinds.get(told["code"], StartupError)(told["message"])
    return status


def command(folder: Path) -> list[str]:
    """Command that starts TorchServe with the files in `folder`. Raises StartupError with what to
    install."""
    spec = importlib.util.find_spec("ts")
    home = Path(spec.origin).parents[1] if spec is not None and spec.origin else None
    if home is None or not (home / "ts/frontend/model-server.jar").exists():
        raise StartupError("TorchServe is not installed: pip install 'maskrcnn-server[torchserve]'")
    return [
        # Should this process be killed, then TorchServe ends too, and its worker after it.
        *("setpriv", "--pdeathsig", "TERM"),
        # It would win over the settings written here.
        *("env", "-u", "TS_CONFIG_FILE"),
        _java(),
        f"-Dmodel_server_home={home}",
        f"-Djava.io.tmpdir={folder / 'tmp'}",
        f"-Dlog4j.configurationFile=file://{folder / 'log4j2.xml'}",
        "-XX:+ExitOnOutOfMemoryError",
        *("-cp", f"{home}/ts/frontend/*"),
        "org.pytorch.serve.ModelServer",
        *("--python", sys.executable),
        *("-f", str(folder / "config.properties")),
        *("-s", str(folder / "store")),
        "-ncs",
    ]


def _java() -> str:
    """Path of Java: JAVA_HOME's, as TorchServe does, or the one on the path."""
    home = environment.without_settings().get("JAVA_HOME")
    java = shutil.which(f"{home}/bin/java" if home else "java")
    if java is None:
        where = f"in JAVA_HOME, {home}" if home else "on the path"
        raise StartupError(f"TorchServe needs Java, and none is {where}: {INSTALL_JAVA}")
    said = subprocess.run([java, "-version"], capture_output=True, text=True, check=False).stderr
    version = re.search(r'version "(\d+)', said)
    if version is None or int(version[1]) < JAVA:
        raise StartupError(f"TorchServe needs another Java than {java}: {INSTALL_JAVA}")
    return java

"""A server in a process of its own, for as long as somebody needs it."""

import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from maskrcnn_server import settings as environment
from maskrcnn_server.errors import StartupError


@dataclass(frozen=True)
class Child:
    """A process that answers at a URL."""

    url: str
    pid: int
    ready_s: float
    """From its start to the first `/ping` of 200."""


@contextmanager
def served(
    model_dir: Path | None,
    backend: str,
    variables: Mapping[str, str] = MappingProxyType({}),
    start_timeout_s: float = 120,
) -> Iterator[str]:
    """Start `maskrcnn-server serve` on a free port; give its URL when it is ready; stop it after.

    Settings are those of `variables`, else the defaults, whatever this process's environment says.

    Raises StartupError, with what the server said, if it ends or is not ready in time.
    """
    command = serve_command(*(() if model_dir is None else ("--model", str(model_dir))))
    command += ["--backend", backend]
    env = environment.without_settings() | dict(variables)
    with running(command, env=env, start_timeout_s=start_timeout_s) as child:
        yield child.url


def serve_command(*options: str, command: str = "serve") -> list[str]:
    """How to start a server of this installation, but for its port."""
    return [sys.executable, "-m", "maskrcnn_handlers", command, "--host", "127.0.0.1", *options]


@contextmanager
def running(
    command: Sequence[str],
    *,
    ping: str = "/ping",
    env: Mapping[str, str] | None = None,
    start_timeout_s: float = 120,
) -> Iterator[Child]:
    """Start `command --port PORT`; give the process when it answers `ping` by 200; stop it after.

    `env` None: this process's environment. Raises StartupError, with what the server said, if it
    ends or is not ready in time.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    start = time.monotonic()
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(
            [*command, "--port", str(port)],
            stdout=log,
            stderr=subprocess.STDOUT,
            env=env,
        )
        try:
            while not _is_ready(url + ping):
                ended = process.poll() is not None
                if ended or time.monotonic() > start + start_timeout_s:
                    log.seek(0)
                    said = log.read().decode(errors="replace")
                    raise StartupError(f"the server did not get ready; it said:\n{said}")
                time.sleep(0.05)
            yield Child(url, process.pid, time.monotonic() - start)
        finally:
            process.terminate()
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _is_ready(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2):
            return True
    except OSError:
        return False

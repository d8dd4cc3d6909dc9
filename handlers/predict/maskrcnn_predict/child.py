"""A server in a process of its own, for as long as somebody needs it."""

import os
import re
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
from typing import IO

from maskrcnn_server import settings as environment
from maskrcnn_server.errors import StartupError

LISTENS = re.compile(r"running on http://\S+:(\d+) ")
"""Port in the log of a server that listens."""


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
    port: int = 0,
    ping: str = "/ping",
    env: Mapping[str, str] | None = None,
    start_timeout_s: float = 120,
) -> Iterator[Child]:
    """Start `command --port PORT`; give the process when it answers `ping` by 200; stop it after.

    `port` 0: one that the server chooses, and logs as uvicorn does. `env` None: this process's
    environment. Raises StartupError, with what the server said, if it ends or is not ready in time.
    """
    start = time.monotonic()
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(
            [*command, "--port", str(port)],
            stdout=log,
            stderr=subprocess.STDOUT,
            env={**(environment.inherited() if env is None else env), "MASKRCNN_LOG_LEVEL": "info"},
        )
        try:
            url = f"http://127.0.0.1:{port}" if port else None
            while url is None or not is_ready(url + ping):
                said = _contents(log)
                ended = process.poll() is not None
                if ended or time.monotonic() > start + start_timeout_s:
                    raise StartupError(f"the server did not get ready; it said:\n{said}")
                if url is None and (listens := LISTENS.search(said)):
                    url = f"http://127.0.0.1:{listens[1]}"
                else:
                    time.sleep(0.05)
            yield Child(url, process.pid, time.monotonic() - start)
        finally:
            process.terminate()
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _contents(log: IO[bytes]) -> str:
    # The server writes where this descriptor, which it shares, points: no seek.
    size = os.fstat(log.fileno()).st_size
    return os.pread(log.fileno(), size, 0).decode(errors="replace")


def is_ready(url: str) -> bool:
    """Whether a server answers a health check."""
    try:
        with urllib.request.urlopen(url, timeout=2):
            return True
    except OSError:
        return False

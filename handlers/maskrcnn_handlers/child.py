"""A server in a process of its own, for as long as somebody needs it."""

import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType

from maskrcnn_server import settings as environment
from maskrcnn_server.errors import StartupError


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
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "maskrcnn_handlers", "serve", "--host", "127.0.0.1"]
    command += ["--port", str(port), "--backend", backend]
    if model_dir is not None:
        command += ["--model", str(model_dir)]
    url = f"http://127.0.0.1:{port}"
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(
            command,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=environment.without_settings() | dict(variables),
        )
        try:
            deadline = time.monotonic() + start_timeout_s
            while not _is_ready(url):
                if process.poll() is not None or time.monotonic() > deadline:
                    log.seek(0)
                    said = log.read().decode(errors="replace")
                    raise StartupError(f"the server did not get ready; it said:\n{said}")
                time.sleep(0.05)
            yield url
        finally:
            process.terminate()
            process.wait(30)


def _is_ready(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/ping", timeout=2):
            return True
    except OSError:
        return False

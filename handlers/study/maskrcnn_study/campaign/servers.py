"""Servers that a campaign attacks, each in a process of its own."""

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from maskrcnn_predict.child import LISTENS, Child, is_ready, running, serve_command
from maskrcnn_server import settings as environment
from maskrcnn_server.errors import StartupError
from maskrcnn_study.campaign.connections import TIMEOUT_S
from maskrcnn_study.campaign.exchange import Place

Entry = dict[str, object]
"""A model in models.yaml."""
SECONDS_PER_CALL = "0.01"
"""Time that a call of the model takes which no folder was given for."""
PIPE_START_S = 120


@dataclass(frozen=True)
class Victims:
    """What the servers of a campaign serve, and which fault is put in front of them."""

    folder: Path
    """A folder for files that last as long as the campaign."""
    model: Path | None = None
    """Model folder. None: a fake model."""
    backend: str | None = None
    precision: str = "float32"
    sabotage: str = ""
    """Fault of `maskrcnn_study.campaign.saboteur`. Empty: none."""

    def entry(self) -> Entry:
        """The model, for models.yaml."""
        if self.model is None:
            return {**self.faulty("fake"), "options": {"seconds": SECONDS_PER_CALL}}
        chosen: Entry = {"backend": self.backend} if self.backend else {}
        return {"model": str(self.model.resolve()), "precision": self.precision, **chosen}

    def faulty(self, name: str) -> Entry:
        """A model of the faulty backend, with a folder of its own."""
        (self.folder / name).mkdir(exist_ok=True)
        return {"backend": "faulty", "model": str(self.folder / name)}

    def command(self, models: Mapping[str, Entry], name: str) -> list[str]:
        """How to serve these models, but for the port."""
        file = self.folder / f"{name}.yaml"
        # JSON is YAML.
        file.write_text(json.dumps({"models": models}))
        command = serve_command("--models", str(file))
        if not self.sabotage:
            return command
        return [sys.executable, "-m", "maskrcnn_study.campaign.saboteur", self.sabotage, *command]

    def environment(self, **settings: str) -> dict[str, str]:
        """The environment of a server, in which the faulty backend is installed."""
        info = self.folder / "site/faulty-1.0.dist-info"
        if not info.exists():
            info.mkdir(parents=True)
            (info / "METADATA").write_text("Metadata-Version: 2.1\nName: faulty\nVersion: 1.0\n")
            entry_point = "faulty = maskrcnn_study.faulty"
            (info / "entry_points.txt").write_text(f"[maskrcnn_server]\n{entry_point}\n")
        env = environment.without_settings()
        paths = [str(self.folder / "site"), *filter(None, [env.get("PYTHONPATH")])]
        return {**env, "PYTHONPATH": os.pathsep.join(paths), **settings}

    @contextmanager
    def attacked(self) -> Iterator[Child]:
        """A server of the model, which has short time limits, and loads models by request."""
        short = {
            f"MASKRCNN_{name}_TIMEOUT": str(TIMEOUT_S) for name in ("HEADERS", "BODY", "WRITE")
        }
        models = {"model": {**self.entry(), "default": True}}
        env = self.environment(MASKRCNN_MULTI_MODEL="true", **short)
        with running(self.command(models, "attacked"), env=env) as child:
            yield child

    @contextmanager
    def idle(self) -> Iterator[Child]:
        """A server that nobody asks, without sabotage."""
        plain = Victims(self.folder)
        models = {"idle": {**plain.faulty("idle"), "default": True}}
        with running(plain.command(models, "idle"), env=plain.environment()) as child:
            yield child

    @contextmanager
    def few_files(self, files: int) -> Iterator[Child]:
        """A server that may open few files."""
        models = {"model": {**self.entry(), "default": True}}
        limited = ["bash", "-c", f'ulimit -n {files}; exec "$@"', "bash"]
        command = [*limited, *self.command(models, "few_files")]
        with running(command, env=self.environment()) as child:
            yield child

    @contextmanager
    def unread_log(self) -> Iterator[Child]:
        """A server whose log nobody reads, once it is ready."""
        models = {"model": {**self.entry(), "default": True}}
        command = [*self.command(models, "unread_log"), "--port", "0"]
        start = time.monotonic()
        process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=self.environment(MASKRCNN_LOG_LEVEL="info"),
        )
        try:
            listens: re.Match[str] | None = None
            while listens is None:
                line = process.stdout.readline() if process.stdout else b""
                if not line:
                    raise StartupError("the server ended before it listened")
                listens = LISTENS.search(line.decode())
            url = f"http://127.0.0.1:{listens[1]}"
            while not is_ready(f"{url}/ping") and time.monotonic() < start + PIPE_START_S:
                time.sleep(0.1)
            yield Child(url, process.pid, time.monotonic() - start)
        finally:
            process.kill()
            process.wait()


def place(child: Child) -> Place:
    """The address of a server."""
    parts = urlsplit(child.url)
    return Place(parts.hostname or "", parts.port or 0)

"""Secrets of addresses go through every path, and come out of none."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest

from maskrcnn_handlers.observe.logs import JsonFormatter, TextFormatter

if TYPE_CHECKING:
    from server_fixtures import Install, Server

SECRET = "hunter2"  # noqa: S105 (a stand-in)
ADDRESSES = {
    "refused": f"http://user:{SECRET}@127.0.0.1:1/m.npz?X-Amz-Signature={SECRET}",
    "unknown": f"https://{SECRET}@nowhere.invalid/m.zip?sig={SECRET}#{SECRET}",
    "no-port": f"http://user:{SECRET}/more@127.0.0.1/m.npz",
    "no-scheme": f"HTP://user:{SECRET}@127.0.0.1/m.npz",
}


def command(*arguments: str, env: dict[str, str]) -> str:
    program = [sys.executable, "-m", "maskrcnn_handlers", *arguments]
    done = subprocess.run(program, capture_output=True, text=True, env=env, check=False)
    assert done.returncode == 1
    return done.stdout + done.stderr


@pytest.mark.parametrize("address", ADDRESSES.values(), ids=ADDRESSES)
def test_commands_show_no_secret(install: Install, tmp_path: Path, address: str) -> None:
    env = install(MASKRCNN_CACHE=str(tmp_path / "cache"), NO_PROXY="*")
    for arguments in (("doctor", address), ("serve", "--model", address, "--port", "0")):
        said = command(*arguments, env=env)
        assert "127.0.0.1" in said or "nowhere.invalid" in said
        assert SECRET not in said


def test_settings_show_no_secret(install: Install) -> None:
    env = install(MASKRCNN_LOG_LEVEL=f"https://u:{SECRET}@a?{SECRET}")
    assert SECRET not in command("serve", env=env)


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_a_server_shows_no_secret(
    start: Callable[..., Server], install: Install, tmp_path: Path, png: bytes, log_format: str
) -> None:
    models = {name: {"model": address} for name, address in ADDRESSES.items()}
    # A server without any model ends.
    models["good"] = {"model": str(tmp_path)}
    (tmp_path / "models.yaml").write_text(json.dumps({"models": models}))
    env = install(
        MASKRCNN_MODELS=str(tmp_path / "models.yaml"),
        MASKRCNN_CACHE=str(tmp_path / "cache"),
        MASKRCNN_LOG_FORMAT=log_format,
        MASKRCNN_LOG_LEVEL="debug",
        NO_PROXY="*",
    )
    server = start(tmp_path, env=env)
    with httpx.Client(base_url=server.url, timeout=30) as client:
        while "loading" in client.get("/models").text:
            time.sleep(0.1)
        replies = [client.get(path) for path in ("/models", "/ping", "/metrics")]
        replies += [client.get(f"/models/{name}") for name in ADDRESSES]
        replies += [client.post(f"/models/{name}/invoke", content=png) for name in ADDRESSES]
    server.end()
    assert sum("reason" in model for model in replies[0].json()["models"]) == len(ADDRESSES)
    shown = "".join(reply.text + str(reply.headers) for reply in replies) + server.log.read_text()
    assert "nowhere.invalid" in shown
    assert SECRET not in shown
    for card in (tmp_path / "cache").glob("*/source.json"):
        assert SECRET not in card.read_text()


@pytest.mark.parametrize("formatter", [TextFormatter(), JsonFormatter()])
def test_a_traceback_in_the_log_shows_no_secret(formatter: logging.Formatter) -> None:
    try:
        raise OSError(f"https://u:{SECRET}@a.example/m?{SECRET}")
    except OSError:
        record = logging.LogRecord(
            "a", logging.ERROR, "a", 1, "at %s", (ADDRESSES["refused"],), sys.exc_info()
        )
    text = formatter.format(record)
    assert "a.example" in text
    assert SECRET not in text


def test_a_cache_that_cannot_be_written_is_named(install: Install, tmp_path: Path) -> None:
    for name in ("m.zip", "file"):
        (tmp_path / name).write_bytes(b"PK")
    env = install(MASKRCNN_CACHE=str(tmp_path / "file" / "cache"))
    assert "MASKRCNN_CACHE=" in command("doctor", str(tmp_path / "m.zip"), env=env)

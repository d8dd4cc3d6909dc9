"""TorchServe's input files: an archive with the handler's name, and safe settings."""

import json
import zipfile
from dataclasses import dataclass
from datetime import datetime, timezone
from math import ceil
from pathlib import Path

from maskrcnn_server.settings import Settings
from maskrcnn_torchserve.handler import SECTION, STAND_IN

NAME = "maskrcnn"
ARCHIVE = f"{NAME}.mar"
HANDLER = "maskrcnn_torchserve.handler"
START_S = 3600
"""Seconds for loading a model. Long: nobody is served before, and the caller decides when to give
up."""
HANGING_S = 600
"""Seconds after which a batch counts as hanging, and TorchServe restarts the worker."""
RETRY_S = 60
"""Seconds during which TorchServe restarts a worker that ended; then `/ping` is no longer 200."""
MARGIN = 2**20
"""Bytes added to the payload limit; the exact limit is checked where the body is read first."""
MAX_INT = 2**31 - 1

STAND_IN_MODULE = f'''"""Stands in for PyTorch, of which TorchServe's worker needs one name."""

{STAND_IN} = True


class Tensor:
    """Nothing is one."""
'''

LOGGING = """<?xml version="1.0" encoding="UTF-8"?>
<Configuration status="WARN">
  <Appenders>
    <Console name="stderr" target="SYSTEM_ERR">
      <PatternLayout pattern="%d{{yyyy-MM-dd HH:mm:ss,SSS}} %p %m%n"/>
      <RegexFilter regex="Backend received inference at.*" onMatch="DENY" onMismatch="NEUTRAL"/>
    </Console>
  </Appenders>
  <Loggers>
    <Root level="{level}"><AppenderRef ref="stderr"/></Root>
    <Logger name="MODEL_LOG" level="info"/>
    <Logger name="ACCESS_LOG" level="off"/>
    <Logger name="TS_METRICS" level="off"/>
    <Logger name="MODEL_METRICS" level="off"/>
    <Logger name="io.netty" level="error"/>
  </Loggers>
</Configuration>
"""


@dataclass(frozen=True)
class Options:
    """TorchServe's own settings."""

    batch_size: int = 1
    """Maximum number of requests of a batch."""
    batch_delay_ms: int = 20
    """Milliseconds that the first request of a batch waits for others."""
    management_port: int | None = None
    """Management port on 127.0.0.1. None: a socket that only this server's user can open."""
    metrics_port: int | None = None
    """Metrics port, likewise."""


def write(
    folder: Path, settings: Settings, options: Options, config: dict[str, str], stand_in: bool
) -> None:
    """Write all files into an empty folder.

    `config` is for the handler; `stand_in`: there is no PyTorch, so a stand-in module is needed.
    """
    (folder / "store").mkdir()
    (folder / "tmp").mkdir()
    _write_archive(
        folder / "store" / ARCHIVE, {**_worker(settings, options), SECTION: config}, stand_in
    )
    (folder / "config.properties").write_text(_properties(folder, settings, options))
    level = "debug" if settings.log_level == "debug" else "warn"
    (folder / "log4j2.xml").write_text(LOGGING.format(level=level))


def _write_archive(path: Path, config: dict[str, object], stand_in: bool) -> None:
    manifest = {
        "createdOn": datetime.now(timezone.utc).strftime("%d/%m/%Y %H:%M:%S"),
        "runtime": "python",
        "model": {
            "modelName": NAME,
            "modelVersion": "1.0",
            "handler": HANDLER,
            "configFile": "model-config.yaml",
        },
        "archiverVersion": "0.12.0",
    }
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("MAR-INF/MANIFEST.json", json.dumps(manifest))
        # JSON is YAML.
        archive.writestr("model-config.yaml", json.dumps(config))
        if stand_in:
            archive.writestr("torch/__init__.py", STAND_IN_MODULE)


def _worker(settings: Settings, options: Options) -> dict[str, object]:
    """Settings of the one worker: time to load, and a limit for hanging only."""
    return {
        "minWorkers": 1,
        "maxWorkers": 1,
        "batchSize": options.batch_size,
        "maxBatchDelay": options.batch_delay_ms,
        "responseTimeout": HANGING_S,
        "startupTimeout": START_S,
        "maxRetryTimeoutInSec": RETRY_S,
        "jobQueueSize": settings.model.max_waiting + options.batch_size,
    }


def _properties(folder: Path, settings: Settings, options: Options) -> str:
    """`config.properties`. TorchServe is reachable from this machine only."""
    store = folder / "store"
    values = {
        "inference_address": f"unix:{inference_socket(folder)}",
        "management_address": _address(folder / "management", options.management_port),
        "metrics_address": _address(folder / "metrics", options.metrics_port),
        # gRPC cannot be turned off.
        "grpc_inference_address": "127.0.0.1",
        "grpc_inference_port": 0,
        "grpc_management_address": "127.0.0.1",
        "grpc_management_port": 0,
        "disable_token_authorization": "true",
        "enable_model_api": "false",
        "allowed_urls": f"file://{store}/.*",
        "model_store": store,
        "load_models": f"{NAME}={ARCHIVE}",
        "default_workers_per_model": 1,
        "max_request_size": min(ceil(settings.max_payload_mb * 2**20) + MARGIN, MAX_INT),
        "max_response_size": MAX_INT,
        "decode_input_request": "false",
        "install_py_dep_per_model": "false",
        "disable_system_metrics": "true",
        "metrics_mode": "prometheus",
    }
    return "".join(f"{name}={value}\n" for name, value in values.items())


def inference_socket(folder: Path) -> Path:
    """Socket on which TorchServe listens for requests."""
    return folder / "inference"


def _address(path: Path, port: int | None) -> str:
    return f"unix:{path}" if port is None else f"http://127.0.0.1:{port}"

"""The Open Inference Protocol, asked by Triton's load generator, perf_analyzer."""

from __future__ import annotations

import base64
import csv
import ctypes.util
import json
import struct
import subprocess
from typing import TYPE_CHECKING

import httpx
import pytest
from real_clients import client_environment, own_variables

if TYPE_CHECKING:
    from pathlib import Path

    from protocol_fixtures import Served

REQUESTS = 40

pytestmark = [
    pytest.mark.full,
    pytest.mark.skipif(ctypes.util.find_library("b64") is None, reason="libb64-0d is missing"),
]


@pytest.fixture(scope="module")
def program() -> tuple[str, dict[str, str]]:
    """perf_analyzer in an environment of its own, and the variables that it needs."""
    folder = client_environment("perf_analyzer", "--no-deps")
    (runtime,) = folder.glob("lib/python*/site-packages/nvidia/cuda_runtime/lib")
    return str(folder / "bin/perf_analyzer"), {**own_variables(), "LD_LIBRARY_PATH": str(runtime)}


@pytest.mark.parametrize("protocol", ["http", "grpc"])
def test_load_is_answered_and_counted(
    program: tuple[str, dict[str, str]],
    served: Served,
    picture: bytes,
    tmp_path: Path,
    protocol: str,
) -> None:
    data, report = tmp_path / "input.json", tmp_path / "report.csv"
    # It sends what is in base64 as it is: a tensor of BYTES has the length of each element.
    tensor = struct.pack("<I", len(picture)) + picture
    image = {"content": {"b64": base64.b64encode(tensor).decode()}, "shape": [1]}
    data.write_text(json.dumps({"data": [{"image": image}]}))
    command = [program[0], "-m", "colours", "-i", protocol, "--input-data", str(data)]
    command += ["-u", served.address if protocol == "http" else served.grpc()]
    command += ["--concurrency-range", "2", "--request-count", str(REQUESTS), "-f", str(report)]
    done = subprocess.run(
        command, env=program[1], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (row,) = csv.DictReader(report.read_text().splitlines())
    assert float(row["Inferences/Second"]) > 0
    stats = httpx.get(f"{served.url}/v2/models/colours/stats").json()["model_stats"][0]
    assert stats["inference_count"] >= REQUESTS
    assert stats["inference_stats"]["fail"]["count"] == 0

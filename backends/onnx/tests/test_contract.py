"""What clients rely on, asked of a server with this backend."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from maskrcnn_predict.child import served

pytestmark = pytest.mark.full

ROOT = Path(__file__).parents[3]


def test_contract_is_kept(onnx_dir: Path) -> None:
    """The tests of the contract, of a server that runs: golden answers included."""
    with served(onnx_dir, "onnx") as url:
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider",
             "tests/contract/test_contract.py"],
            cwd=ROOT,
            env={**os.environ, "CONTRACT_URL": url, "CONTRACT_NAME": "onnx"},
            capture_output=True,
            text=True,
            check=False,
        )  # fmt: skip
    assert done.returncode == 0, done.stdout

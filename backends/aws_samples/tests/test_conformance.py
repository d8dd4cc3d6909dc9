"""The AWS Samples backend keeps the promises of every backend."""

from pathlib import Path

import pytest

from maskrcnn_aws_samples.backend import AwsSamplesBackend
from maskrcnn_plugin_kit.testing import BackendConformance
from maskrcnn_server.backend import Backend


@pytest.fixture(scope="module")
def backend() -> Backend:
    return AwsSamplesBackend()


@pytest.fixture(scope="module")
def model_dir(shapes_dir: Path) -> Path:
    return shapes_dir


class TestAwsSamples(BackendConformance):
    pass

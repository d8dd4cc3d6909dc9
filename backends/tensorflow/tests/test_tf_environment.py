"""Variables are set before TensorFlow is imported, unless the operator has set them."""

import os

import pytest

from maskrcnn_tensorflow import tf_environment

THREADS = ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS")


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is set in a test is forgotten after it."""
    for name in (*THREADS, tf_environment.FROZEN, "TF_CPP_MIN_LOG_LEVEL"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)


def test_a_server_computes_with_its_cpus_and_prepares_weights_once() -> None:
    tf_environment.use_threads(3)
    tf_environment.freeze_weights()
    assert {os.environ[name] for name in THREADS} == {"3"}
    assert os.environ[tf_environment.FROZEN] == "1"


def test_the_operator_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (THREADS[0], tf_environment.FROZEN, "TF_CPP_MIN_LOG_LEVEL"):
        monkeypatch.setenv(name, "0")
    tf_environment.use_threads(3)
    tf_environment.freeze_weights()
    tf_environment.quiet()
    assert os.environ[THREADS[0]] == "0"
    assert os.environ[THREADS[1]] == "3"
    assert os.environ[tf_environment.FROZEN] == "0"
    assert os.environ["TF_CPP_MIN_LOG_LEVEL"] == "0"

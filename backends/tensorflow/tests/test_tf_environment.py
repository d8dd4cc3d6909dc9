"""Variables are set before TensorFlow is imported, unless the operator has set them."""

import contextlib
import os
import subprocess
import sys
import threading
import time

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


def test_the_operator_decides(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    for name in (THREADS[0], tf_environment.FROZEN, "TF_CPP_MIN_LOG_LEVEL"):
        monkeypatch.setenv(name, "0")
    tf_environment.use_threads(3)
    tf_environment.freeze_weights()
    with tf_environment.quietly():
        os.write(2, b"I0000 00:00:1 a notice\n")
    assert os.environ[THREADS[0]] == "0"
    assert os.environ[THREADS[1]] == "3"
    assert os.environ[tf_environment.FROZEN] == "0"
    assert os.environ["TF_CPP_MIN_LOG_LEVEL"] == "0"
    assert capfd.readouterr().err == "I0000 00:00:1 a notice\n"


def test_notices_are_left_out_and_all_else_is_kept(capfd: pytest.CaptureFixture[str]) -> None:
    with contextlib.suppress(ImportError), tf_environment.quietly():
        os.write(2, b"WARNING: All log messages before absl::InitializeLog() is called are here\n")
        os.write(2, b"I0000 00:00:1 port.cc:153] a notice\nlibcudart.so: wrong ELF class\n")
        raise ImportError
    os.write(2, b"after\n")
    assert capfd.readouterr().err == "libcudart.so: wrong ELF class\nafter\n"


def test_two_threads_import_one_after_the_other(capfd: pytest.CaptureFixture[str]) -> None:
    """The second one must not keep stderr where the first has put it."""

    def load() -> None:
        with tf_environment.quietly():
            time.sleep(0.05)

    threads = [threading.Thread(target=load) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    os.write(2, b"after\n")
    assert capfd.readouterr().err == "after\n"


@pytest.mark.full
def test_tensorflow_is_imported_in_silence() -> None:
    code = "import maskrcnn_tensorflow.tf_environment as e\nwith e.quietly():\n import tensorflow"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True
    )
    assert done.stderr == ""

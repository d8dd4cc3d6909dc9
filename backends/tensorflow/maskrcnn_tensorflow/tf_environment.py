"""Environment variables of TensorFlow, which must be set before it is imported."""

import os
import re
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager

FROZEN = "TF_ONEDNN_ASSUME_FROZEN_WEIGHTS"
"""Variable that lets kernels keep a convolution's weights in the layout of their last use."""
LEVEL = "TF_CPP_MIN_LOG_LEVEL"
NOTICE = re.compile(rb"WARNING: All log messages before absl::InitializeLog|[IW]\d{4} ")
"""Beginning of a line that TensorFlow's libraries log before they have read their level."""
_STDERR = 2
_importing = threading.Lock()


@contextmanager
def quietly() -> Iterator[None]:
    """Make TensorFlow log errors only, unless the operator has set a level.

    It has to be imported within this context: what its libraries write to stderr while they are
    loaded, which no setting prevents, is kept until the end, and written without their notices.
    """
    if LEVEL in os.environ:
        yield
        return
    with _importing:
        os.environ[LEVEL] = "3"
        with _without_notices():
            yield


@contextmanager
def _without_notices() -> Iterator[None]:
    try:
        stderr = os.dup(_STDERR)
    except OSError:
        yield
        return
    with tempfile.TemporaryFile() as written:
        os.dup2(written.fileno(), _STDERR)
        try:
            yield
        finally:
            if sys.stderr is not None:
                sys.stderr.flush()
            os.dup2(stderr, _STDERR)
            os.close(stderr)
            written.seek(0)
            for line in written:
                if not NOTICE.match(line):
                    os.write(_STDERR, line)


def use_threads(count: int) -> None:
    """Make TensorFlow compute with `count` threads, unless the operator has set a number.

    The default is one for each CPU of the machine, even if a container may use fewer.
    """
    for pool in ("INTRAOP", "INTEROP"):
        os.environ.setdefault(f"TF_NUM_{pool}_THREADS", str(count))


def threads() -> str:
    """The number of threads with which TensorFlow computes, in words."""
    return os.environ.get("TF_NUM_INTRAOP_THREADS", "one for each CPU of the machine")


def freeze_weights() -> None:
    """Make kernels prepare weights once instead of in every call, unless the operator has set it.

    After that, this process must not train a network: it would compute with the first weights.
    """
    os.environ.setdefault(FROZEN, "1")

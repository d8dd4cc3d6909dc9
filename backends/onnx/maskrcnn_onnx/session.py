"""ONNX Runtime, set up to serve."""

from pathlib import Path

import onnxruntime as ort

from maskrcnn_server.errors import InvalidModel

ERRORS = 3
"""The level at which ONNX Runtime logs."""


def open_session(path: Path, threads: int) -> ort.InferenceSession:
    """A session of so many threads, which sleep between requests.

    Raises InvalidModel with the runtime's own words if it does not load the file.
    """
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = ERRORS
    # A pattern would be kept for every size of image.
    options.enable_mem_pattern = False
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry("session.set_denormal_as_zero", "1")
    try:
        return ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    # The runtime's errors have no common class.
    except Exception as error:
        raise InvalidModel(f"{path}: ONNX Runtime does not load it: {error}") from error

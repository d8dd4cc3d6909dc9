import json
import sys

import pytest

from maskrcnn_server.errors import InvalidSetting
from maskrcnn_server.optional import lacks, required


def test_a_library_that_is_installed_is_imported() -> None:
    assert required("json", "nothing") is json
    assert required("importlib.metadata", "nothing") is sys.modules["importlib.metadata"]
    assert lacks("json", "nothing") is None


@pytest.mark.parametrize(
    ("requirement", "line"),
    [("maskrcnn-torch", "maskrcnn-torch"), ("maskrcnn-server[s3]", "'maskrcnn-server[s3]'")],
)
def test_the_line_that_installs_it_is_said_of_another(requirement: str, line: str) -> None:
    message = f"no_such_library is not installed: pip install {line}"
    assert lacks("no_such_library", requirement) == message
    with pytest.raises(InvalidSetting) as refused:
        required("no_such_library.part", requirement)
    assert refused.value.message == message

"""OpenVINO, without its converter of other formats.

That one writes statistics to the home directory, and asks for its maker's host, as soon as it is
imported. OpenVINO does without it where there is nothing to import from it.
"""

import sys
from types import ModuleType

_CONVERTER = "openvino.tools.ovc"
sys.modules.setdefault(_CONVERTER, ModuleType(_CONVERTER))
import openvino.frontend.onnx  # noqa: E402

__all__ = ["openvino"]

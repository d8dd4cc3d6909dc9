"""OpenVINO, without its converter of other formats.

As soon as it is imported, the converter writes statistics to the home directory and looks up its
vendor's host. OpenVINO works without it.
"""

import sys
from types import ModuleType

_CONVERTER = "openvino.tools.ovc"
sys.modules.setdefault(_CONVERTER, ModuleType(_CONVERTER))
import openvino.frontend.onnx  # noqa: E402

__all__ = ["openvino"]

"""Mask R-CNN in TensorFlow 2: the library from which backends are assembled.

`checkpoint`, `tensor_bundle`, `architecture` and `config` need numpy alone; the other modules
import TensorFlow.
"""

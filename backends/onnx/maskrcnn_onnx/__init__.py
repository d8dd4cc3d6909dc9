"""Serves Mask R-CNN in ONNX: exports of the other backends, and of other programs."""

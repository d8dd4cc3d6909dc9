"""Serves Mask R-CNN in ONNX: what the other backends export, and what others write."""

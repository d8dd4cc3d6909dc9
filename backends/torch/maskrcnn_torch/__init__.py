"""Serves Mask R-CNN on GPUs, computed by PyTorch."""

"""Serves MMDetection's Mask R-CNN checkpoints."""

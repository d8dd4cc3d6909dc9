"""Serves checkpoints of TensorPack's FasterRCNN example."""

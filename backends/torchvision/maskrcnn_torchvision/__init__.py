"""Serves torchvision's Mask R-CNN checkpoints."""

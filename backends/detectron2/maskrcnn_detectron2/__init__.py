"""Serves Detectron2's Mask R-CNN checkpoints."""

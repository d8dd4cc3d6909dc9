"""Serves models that TensorFlow's Object Detection API exported."""

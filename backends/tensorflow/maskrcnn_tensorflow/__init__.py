"""Mask R-CNN in TensorFlow 2: the library from which backends are assembled.

What reads folders (`checkpoint`, `architecture`, `sources`, `folder`, `family`) needs no TensorFlow
until a model is loaded; what computes imports it at once.
"""

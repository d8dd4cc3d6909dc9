"""Mask R-CNN without a framework: checkpoints, configuration, and the network, defined once.

A dialect (a framework's names, configuration and rules) is joined here with an engine, which
computes the network.
"""

"""Instances in images that are larger than a model's input, by tiles."""

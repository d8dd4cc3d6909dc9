"""Preparing, measuring and comparing models and servers."""

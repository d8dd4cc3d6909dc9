"""Timing of the stages of a request, and of any server under load."""

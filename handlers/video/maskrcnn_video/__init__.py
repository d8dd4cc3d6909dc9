"""Instances in clips: frames in, tracks out."""

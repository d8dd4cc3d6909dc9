"""Replies that come entry by entry, as images and tiles are done."""

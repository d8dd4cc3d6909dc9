"""Response formats of the core."""

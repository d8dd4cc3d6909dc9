"""From the bytes of a request to an image and what is asked of it."""

"""Models in memory, and the requests that wait for them."""

"""Protocols of other model servers and of annotation tools, on the port of maskrcnn-server."""

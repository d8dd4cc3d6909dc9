"""The network, once, against the operations that an engine brings."""

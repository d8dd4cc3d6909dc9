"""Models on this machine: downloaded, unpacked, cached."""

"""OpenVINO as an engine: computes networks on CPUs, in float32 and 8-bit integers."""

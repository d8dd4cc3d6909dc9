"""OpenVINO as an engine: networks on a CPU, in float32 and 8-bit integers."""

"""The Open Inference Protocol, version 2, of KServe, Triton and MLServer."""

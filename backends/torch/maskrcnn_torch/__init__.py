"""PyTorch as an engine: computes networks on GPUs and CPUs."""

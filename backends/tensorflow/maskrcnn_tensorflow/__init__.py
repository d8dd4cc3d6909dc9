"""TensorFlow as an engine: computes networks on CPUs and GPUs, in float32, bfloat16, float16."""

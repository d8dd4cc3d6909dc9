"""TensorFlow as an engine: networks on CPUs and GPUs, in float32, bfloat16 and float16."""

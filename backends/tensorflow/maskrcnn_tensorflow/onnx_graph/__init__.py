"""The network as an ONNX graph, made of a checkpoint's variables; needs no TensorFlow."""

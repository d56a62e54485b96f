"""Computes in numpy what NVIDIA's ONNX parser made of a graph: no GPU, no TensorRT kernels, no ONNX.

`reader` copies an `INetworkDefinition` into plain data (`network`), `interpreter` computes it layer by
layer with the semantics that `NvInfer.h` documents. What is not known here, a layer type, an attribute
or a value of one, raises: nothing is guessed.

Arithmetic. Every floating-point tensor is held as float32 numbers that its type can represent. A layer
computes in float32, accumulates in float32, and its output is rounded once to its type (nearest even).
TensorRT's kernels may accumulate in another order or type, and may keep float32 between fused layers, so
results are held to limits, not to bits. Integers are exact.
"""

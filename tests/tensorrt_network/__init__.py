"""Compute in numpy what NVIDIA's ONNX parser made of a graph: no GPU, no TensorRT kernels, no ONNX.

`reader` copies an `INetworkDefinition` into plain data (`network`). `interpreter` computes it layer by
layer with the semantics that `NvInfer.h` documents. An unknown layer type, attribute or attribute value
raises: nothing is guessed.

Arithmetic. Every floating-point tensor holds float32 numbers that its type can represent. A layer
computes and accumulates in float32, and its output is rounded once to its type (nearest even).
TensorRT's kernels may accumulate in another order or type, and may keep float32 between fused layers.
Results are therefore compared within limits, not bit for bit. Integers are exact.
"""

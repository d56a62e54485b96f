"""Engines of the target `ort-cuda`: ONNX Runtime's CUDA provider, with everything on the device."""

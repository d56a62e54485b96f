"""Running engines of TensorRT and TensorRT-RTX: their Python module, the CUDA driver and numpy."""

"""An NVIDIA GPU through the CUDA driver's own library: memory, one stream, events, CUDA graphs."""

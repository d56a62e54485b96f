"""The lean runtime: opens a bundle and runs it; imports neither torch, transformers nor onnx."""

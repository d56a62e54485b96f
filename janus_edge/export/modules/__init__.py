"""One module per graph: what is traced into ONNX, with parameters named as in the checkpoint."""

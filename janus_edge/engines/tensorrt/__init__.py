"""The builder of TensorRT's and TensorRT-RTX' plans: one code path for both."""

"""Calibration data, ranges and quantising rewrites."""

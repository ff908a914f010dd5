"""Naive computations in float64, for the tests of CPU and GPU kernels alike."""

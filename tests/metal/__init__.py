"""Proves the Metal kernels without a GPU. A package, so that its files may be called like those of tests/."""

"""Similarity search, and the linear algebra under it, as native primitives of MLX."""

from metalfaiss import _loader as _loader

__version__ = _loader.VERSION

"""Searches divided otherwise than usual, so that small inputs reach every edge."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from metalfaiss import _core


@contextmanager
def limits(**values: Any) -> Iterator[None]:
    """The arguments of KnnLimits (csrc/gpu/plans/knn.h)."""
    _core.set_knn_limits(**values)
    try:
        yield
    finally:
        _core.set_knn_limits()

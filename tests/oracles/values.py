"""The values of arrays."""

from typing import Any

import mlx.core as mx
import numpy as np

__all__ = ["numpy64"]


def numpy64(x: Any) -> Any:
    """Exactly, as NumPy's float64."""
    return np.array(mx.array(x).astype(mx.float32)).astype(np.float64)

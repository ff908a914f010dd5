"""FAISS's numeric types: what vectors are rounded to before an index takes them."""

from __future__ import annotations

import mlx.core as mx

__all__ = ["Float16", "Float32", "Int8", "UInt8", "as_numeric"]

Float32, Float16, UInt8, Int8 = 0, 1, 2, 3

_TYPES = {Float32: None, Float16: mx.float16, UInt8: mx.uint8, Int8: mx.int8}


def as_numeric(op: str, x: mx.array, numeric_type: int) -> mx.array:
    """``x`` rounded to a numeric type: as it is for ``Float32``, since an index does its own conversion.

    Raises:
        TypeError: there is no such type.
    """
    if numeric_type not in _TYPES:
        raise TypeError(f"[{op}] numeric_type must be Float32, Float16, UInt8 or Int8. Received {numeric_type!r}.")
    dtype = _TYPES[numeric_type]
    return x if dtype is None else x.astype(dtype).astype(mx.float32)

"""What an index checks of its arguments, once for all types."""

from __future__ import annotations

from typing import Any, TypeAlias

import mlx.core as mx
import numpy as np
from numpy.typing import NDArray

from metalfaiss import _host
from metalfaiss._host import Array, Stream
from metalfaiss.errors import ArgumentError
from metalfaiss.numeric import as_numeric
from metalfaiss.search_parameters import SearchParameters
from metalfaiss.selectors import IDSelector, IDSelectorBatch, as_selector

__all__ = [
    "Accepted",
    "codes",
    "in_range",
    "index",
    "keys",
    "output",
    "parameters",
    "queries",
    "radius",
    "reconstruction",
    "removed",
    "returned",
    "stored_ids",
    "types",
    "vectors",
    "whole",
]


def vectors(op: str, x: Array, d: int, numeric_type: int) -> mx.array:
    """``x``, shape (n, d), rounded to the numeric type.

    Raises:
        TypeError: ``x`` is no array of real numbers, or there is no such numeric type.
        ValueError: its shape is not (n, d), or it holds values out of the range of the numeric type.
    """
    return as_numeric(op, _host.vectors(op, x, d), numeric_type)


def queries(op: str, x: Array, d: int, k: int, numeric_type: int, stream: Stream) -> tuple[mx.array, int]:
    """Queries as float32, and how many results they shall have."""
    return vectors(op, x, d, numeric_type).astype(mx.float32, stream=stream), _host.integer(op, "k", k, 1)


def whole(op: str, name: str, value: object, kind: type[int]) -> int:
    """``value``, an integer or a boolean, as the one of both that ``kind`` is."""
    if not isinstance(value, int | np.integer | np.bool_):
        raise TypeError(f"[{op}] {name} must be of type {kind.__name__}. Received {value!r}.")
    return kind(value)


Accepted: TypeAlias = type[SearchParameters] | tuple[type[SearchParameters], ...]


def types(accepted: Accepted) -> tuple[type[SearchParameters], ...]:
    return accepted if isinstance(accepted, tuple) else (accepted,)


def parameters(op: str, params: object, accepted: Accepted) -> SearchParameters | None:
    """Search parameters of a type that the index knows, plain ones, or None.

    Raises:
        TypeError: they are anything else.
    """
    if params is None or type(params) is SearchParameters or isinstance(params, types(accepted)):
        return params
    known = " or ".join(dict.fromkeys(["SearchParameters", *(kind.__name__ for kind in types(accepted))]))
    raise TypeError(f"[{op}] params must be None, or of {known}. Received {type(params).__name__}.")


def output(op: str, name: str, x: Array, out: NDArray[Any] | None, tail: tuple[int, ...], dtype: Any) -> None:
    """An array (n, *tail) of the caller to write the results for ``x`` to."""
    if out is not None:
        if isinstance(x, mx.array):
            raise TypeError(f"[{op}] {name} must be None for an mlx.core.array x. Received {type(out).__name__}.")
        _host.check_output(op, name, out, (x.shape[0], *tail), dtype)


def reconstruction(op: str, x: NDArray[np.float32] | None, shape: tuple[int, ...]) -> None:
    if x is not None:
        _host.check_output(op, "x", x, shape, np.float32)


def in_range(op: str, keys: NDArray[np.int64], ntotal: int, what: str) -> None:
    """Whether ids are those of an index that numbers what it stores.

    Raises:
        ValueError: one is not from 0 to ``ntotal - 1``.
    """
    wrong = keys[(keys < 0) | (keys >= ntotal)]
    if wrong.size:
        stored = f"from 0 to {ntotal - 1}" if ntotal else f"of stored {what}, of which there are none"
        raise ArgumentError(f"[{op}] key must hold ids {stored}. Received {wrong[0]}.")


def keys(op: str, key: Any) -> mx.array | NDArray[np.int64]:
    """Ids, shape (n,): those of the host as NumPy's int64, those of MLX as they are."""
    array = key if isinstance(key, mx.array) else np.asarray(key)
    if isinstance(array, mx.array):
        integers = mx.issubdtype(array.dtype, mx.integer)
    else:
        integers = array.dtype.kind in "iu" or array.size == 0
    if not integers:
        raise TypeError(f"[{op}] key must hold integers. Received {array.dtype}.")
    if array.ndim != 1:
        raise ArgumentError(f"[{op}] key must have shape (n,). Received {tuple(array.shape)}.")
    return array if isinstance(array, mx.array) else array.astype(np.int64)


def stored_ids(op: str, ids: Any, n: int) -> NDArray[np.int64]:
    """A copy of the ids of n vectors.

    Raises:
        TypeError: they are not integers.
        ValueError: their shape is not (n,).
    """
    array = _host.to_numpy(ids)[0] if isinstance(ids, mx.array) else np.asarray(ids)
    if array.dtype.kind not in "iu" and array.size:
        raise TypeError(f"[{op}] ids must hold integers. Received {array.dtype}.")
    if array.shape != (n,):
        raise ArgumentError(f"[{op}] ids must have shape ({n},). Received {array.shape}.")
    return np.array(array, dtype=np.int64)


def removed(op: str, x: Any) -> IDSelector:
    """What to remove: a selector, a predicate, or ids, shape (n,), in any form."""
    if isinstance(x, IDSelector | np.ndarray) or callable(x):
        return as_selector(op, x)
    return IDSelectorBatch(_host.to_numpy(x)[0] if isinstance(x, mx.array) else x)


def radius(op: str, thresh: Any) -> float:
    """A distance as a float.

    Raises:
        TypeError: it is not a number.
    """
    if isinstance(thresh, bool) or not isinstance(thresh, int | float | np.integer | np.floating):
        raise TypeError(f"[{op}] thresh must be a number. Received {thresh!r} of type {type(thresh).__name__}.")
    return float(thresh)


def codes(op: str, given: Any, code_size: int) -> mx.array:
    """Codes (n, code_size), uint8.

    Raises:
        TypeError: they are not an array of uint8.
        ValueError: they have another shape.
    """
    if not isinstance(given, mx.array | np.ndarray) or given.dtype not in (mx.uint8, np.uint8):
        received = getattr(given, "dtype", type(given).__name__)
        raise TypeError(f"[{op}] codes must be an array of uint8. Received {received}.")
    if given.ndim != 2 or given.shape[1] != code_size:
        raise ArgumentError(f"[{op}] codes must have shape (n, {code_size}). Received {tuple(given.shape)}.")
    return given if isinstance(given, mx.array) else mx.array(np.ascontiguousarray(given))


def returned(given: Array, made: Array, out: NDArray[Any] | None) -> Array:
    """What a method made, in the form of what it was given."""
    if isinstance(given, mx.array):
        return made if isinstance(made, mx.array) else mx.array(made)
    return _host.output(_host.to_numpy(made)[0] if isinstance(made, mx.array) else made, out)


def index(op: str, name: str, given: object) -> None:
    """Whether an argument is an index.

    Raises:
        TypeError: it is not.
    """
    from metalfaiss.indexes.base import Index

    if not isinstance(given, Index):
        raise TypeError(f"[{op}] {name} must be an Index. Received {type(given).__name__}.")

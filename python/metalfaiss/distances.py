"""Exact search as one lazy MLX operation: distance and selection together, on MLX or NumPy arrays."""

from typing import Any, overload

import mlx.core as mx
import numpy as np
from numpy.typing import NDArray

from metalfaiss import _core
from metalfaiss._host import Stream, require_int, to_mlx, to_numpy
from metalfaiss.metrics import METRIC_L2

__all__ = ["knn"]


@overload
def knn(
    xq: NDArray[Any],
    xb: NDArray[Any],
    k: int,
    metric: int = METRIC_L2,
    metric_arg: float = 0.0,
    *,
    stream: Stream = None,
) -> tuple[NDArray[np.float32], NDArray[np.int64]]: ...
@overload
def knn(
    xq: mx.array,
    xb: mx.array | NDArray[Any],
    k: int,
    metric: int = METRIC_L2,
    metric_arg: float = 0.0,
    *,
    stream: Stream = None,
) -> tuple[mx.array, mx.array]: ...
@overload
def knn(
    xq: NDArray[Any],
    xb: mx.array,
    k: int,
    metric: int = METRIC_L2,
    metric_arg: float = 0.0,
    *,
    stream: Stream = None,
) -> tuple[mx.array, mx.array]: ...
def knn(
    xq: Any,
    xb: Any,
    k: int,
    metric: int = METRIC_L2,
    metric_arg: float = 0.0,
    *,
    stream: Stream = None,
) -> tuple[Any, Any]:
    """The ``k`` nearest rows of ``xb`` for every row of ``xq``: exact, in memory that does not grow with ``nb``.

    The ids are those of a float64 computation on the stored values. Equal distances are ordered by id. Vectors whose
    distance is NaN or infinite in float32 are never returned; missing results have id -1 and the largest (L2) or lowest
    (inner product) finite float32.

    Differentiable in ``xq`` and ``xb`` through the distances, with the ids held fixed.

    Args:
        xq: Queries, shape (..., nq, d); used as float32.
        xb: Database, shape (..., nb, d); float32, float16 or bfloat16 (searched without conversion), any strides. Batch
            dimensions broadcast with those of ``xq``.
        k: Results per query, at least 1; more than nb is padded.
        metric: ``METRIC_L2`` (squared distances, ascending), ``METRIC_INNER_PRODUCT`` (descending), or another of
            FAISS's metrics: those take inputs of two dimensions, compute in float32 on CPU streams, and have no
            derivatives.
        metric_arg: The power of ``METRIC_Lp``.
        stream: Where to run.

    Returns:
        Distances, float32, and ids, int64, both (..., nq, k). NumPy arrays if both inputs are NumPy arrays, otherwise
        lazy MLX arrays.

    Raises:
        ValueError: Shapes do not match, ``k`` < 1, an unknown metric, or the stream's device has no kernel.
        TypeError: ``k`` or ``metric`` is not an integer, or an input is complex or (as an MLX array) float64.
    """
    op = "knn"
    k, metric = require_int(op, "k", k), require_int(op, "metric", metric)
    distances, ids = _core.knn(to_mlx(op, "xq", xq), to_mlx(op, "xb", xb), k, metric, metric_arg, stream=stream)
    if isinstance(xq, mx.array) or isinstance(xb, mx.array):
        return distances, ids
    distances_np, ids_np = to_numpy(distances, ids)
    return distances_np, ids_np

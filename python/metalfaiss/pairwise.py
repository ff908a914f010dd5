"""All distances between two sets of vectors, as a native MLX operation."""

from typing import Any, overload

import mlx.core as mx
import numpy as np
import numpy.typing as npt

from metalfaiss import _core
from metalfaiss._host import ArrayLike, Stream, require_int, to_mlx, to_numpy
from metalfaiss.metrics import METRIC_L2

__all__ = ["pairwise_distances"]


@overload
def pairwise_distances(
    xq: npt.NDArray[Any], xb: npt.NDArray[Any], metric: int = METRIC_L2, metric_arg: float = 0, *, stream: Stream = None
) -> npt.NDArray[np.float32]: ...
@overload
def pairwise_distances(
    xq: mx.array,
    xb: mx.array | npt.NDArray[Any],
    metric: int = METRIC_L2,
    metric_arg: float = 0,
    *,
    stream: Stream = None,
) -> mx.array: ...
@overload
def pairwise_distances(
    xq: npt.NDArray[Any], xb: mx.array, metric: int = METRIC_L2, metric_arg: float = 0, *, stream: Stream = None
) -> mx.array: ...
def pairwise_distances(
    xq: ArrayLike, xb: ArrayLike, metric: int = METRIC_L2, metric_arg: float = 0, *, stream: Stream = None
) -> Any:
    """All squared L2 distances, or inner products, between the rows of ``xq`` and those of ``xb``.

    L2 sums squared differences: every distance is within 1e-5 relative of a float64 computation on the stored values
    (up to 6000 columns), also far from the origin and for near duplicates; equal rows are at exactly 0. Inner products
    are accumulated in float32: their error is relative to the product of the norms.

    Differentiable in both inputs, any number of times.

    Args:
        xq: shape ``(..., nq, d)``, any strides; float32, float16 or bfloat16, other real types as float32.
        xb: shape ``(..., nb, d)``; batch dimensions broadcast with those of ``xq``.
        metric: ``METRIC_L2``, ``METRIC_INNER_PRODUCT``, or another of FAISS's metrics: those take inputs of two
            dimensions, compute in float32 on CPU streams, and have no derivatives.
        metric_arg: the power of ``METRIC_Lp``.
        stream: where to run; a CPU stream, or a GPU stream where this build has its kernels.

    Returns:
        Shape ``(..., nq, nb)`` in float32: a lazy ``mx.array`` if either input is one, a NumPy array otherwise.

    Raises:
        ValueError: the numbers of columns differ, the batch dimensions do not broadcast, an input has fewer than two
            dimensions, the metric is not supported, or the stream's device has no kernel.
        TypeError: the metric is not an int, or an input is not real.
    """
    op = "pairwise_distances"
    metric = max(-(2**31), min(require_int(op, "metric", metric), 2**31 - 1))
    out = _core.pairwise_distances(to_mlx(op, "xq", xq), to_mlx(op, "xb", xb), metric, stream, metric_arg)
    return out if isinstance(xq, mx.array) or isinstance(xb, mx.array) else to_numpy(out)[0]

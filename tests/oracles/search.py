"""What exact search must return: float64 on the stored values, equal distances by id."""

from __future__ import annotations

from typing import Any

import mlx.core as mx
import numpy as np

from metalfaiss import METRIC_INNER_PRODUCT, METRIC_L2
from metalfaiss.distances import knn

from .values import numpy64

__all__ = ["FLT_MAX", "METRICS", "SUBNORMAL", "check", "scores"]

FLT_MAX = np.float32(np.finfo(np.float32).max)
METRICS = [METRIC_L2, METRIC_INNER_PRODUCT]
SUBNORMAL = 1.5e-45  # the least float32


def scores(q: Any, b: Any, metric: int) -> Any:
    """Float64 scores (nq, nb), smaller being nearer; infinite where there is no result."""
    q, b = (np.asarray(x, dtype=np.float64) for x in (q, b))
    with np.errstate(all="ignore"):
        if metric == METRIC_L2:
            s = np.stack([((row - b) ** 2).sum(-1) for row in q]) if len(q) else np.zeros((0, len(b)))
        else:
            s = np.stack([-(row * b).sum(-1) for row in q]) if len(q) else np.zeros((0, len(b)))
        s[~np.isfinite(s.astype(np.float32))] = np.inf
    return s


def check(
    xq: Any, xb: Any, k: int, metric: int = METRIC_L2, found: Any = None, *, exact: bool = False
) -> tuple[Any, Any]:
    """Compares a search of matrices, `found` or a new one, with the oracle, and returns it.

    exact: float64 has no rounding errors here either.
    """
    distances, ids = (np.array(x) for x in found or knn(mx.array(xq), mx.array(xb), k, metric))
    q, b = numpy64(xq), numpy64(xb)
    s = scores(q, b, metric)
    nq, nb = s.shape
    assert distances.dtype == np.float32
    assert ids.dtype == np.int64
    assert distances.shape == ids.shape == (nq, k)
    order = np.argsort(s, axis=1, kind="stable")[:, :k]
    expected = np.full((nq, k), -1, dtype=np.int64)
    expected[:, : min(k, nb)] = np.where(np.isfinite(np.take_along_axis(s, order, 1)), order, -1)
    np.testing.assert_array_equal(ids >= 0, expected >= 0)
    assert np.all(distances[ids < 0] == (FLT_MAX if metric == METRIC_L2 else -FLT_MAX))
    for row in ids:
        assert len(set(row[row >= 0])) == np.sum(row >= 0), "an id twice"
    real = ids >= 0
    if not real.any():
        return distances, ids
    at = np.take_along_axis(s, np.maximum(ids, 0), 1)[real]
    want = np.take_along_axis(s, np.maximum(expected, 0), 1)[real]
    sign = 1 if metric == METRIC_L2 else -1
    np.testing.assert_allclose(distances[real], (sign * at).astype(np.float32), rtol=3e-7, atol=SUBNORMAL)
    different = (ids != expected)[real]
    assert not (exact and different.any())
    if different.any():  # only between scores that float64 itself hardly tells apart
        with np.errstate(over="ignore", invalid="ignore"):
            norms = np.linalg.norm(q, axis=1)[:, None] * np.linalg.norm(b[np.maximum(ids, 0)], axis=-1)
        slack = 1e-11 * norms[real] if metric == METRIC_INNER_PRODUCT else 0
        assert np.all((np.abs(at - want) <= 1e-11 * np.abs(want) + slack)[different])
    return distances, ids

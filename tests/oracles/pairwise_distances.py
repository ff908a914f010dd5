"""Distances of all pairs."""

from __future__ import annotations

from typing import Any

import mlx.core as mx
import numpy as np

from metalfaiss import METRIC_INNER_PRODUCT, METRIC_L2, pairwise_distances

from .values import numpy64

__all__ = ["check_distances", "distances64"]


def distances64(q: Any, b: Any, metric: int) -> Any:
    """Of float64 arrays (..., nq, d) and (..., nb, d)."""
    if metric == METRIC_INNER_PRODUCT:
        return q @ np.swapaxes(b, -1, -2)
    return np.square(q[..., :, None, :] - b[..., None, :, :]).sum(-1)


def check_distances(q: mx.array, b: mx.array, metric: int = METRIC_L2, found: mx.array | None = None) -> None:
    """Compares `found`, or newly computed distances, with the oracle."""
    got = pairwise_distances(q, b, metric) if found is None else found
    q64, b64 = numpy64(q), numpy64(b)
    expected = distances64(q64, b64, metric)
    assert got.dtype == mx.float32
    assert got.shape == expected.shape
    if metric == METRIC_L2:
        np.testing.assert_allclose(np.array(got), expected, rtol=1e-5)
    else:
        bound = np.linalg.norm(q64, axis=-1)[..., :, None] * np.linalg.norm(b64, axis=-1)[..., None, :]
        assert np.all(np.abs(np.array(got) - expected) <= 1e-6 * bound)

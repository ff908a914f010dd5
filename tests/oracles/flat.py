"""What the tests of flat indexes share: the accuracy contract, and both layouts of chunks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import mlx.core as mx
import numpy as np
import pytest

from metalfaiss import METRIC_INNER_PRODUCT, METRIC_L2, IndexFlatIP, IndexFlatL2
from metalfaiss.indexes import _chunks

FLAT = [IndexFlatL2, IndexFlatIP]
WORST = {METRIC_L2: np.finfo(np.float32).max, METRIC_INNER_PRODUCT: np.finfo(np.float32).min}


@pytest.fixture(autouse=True, scope="module", params=[0, _chunks.SMALL], ids=["merged", "waiting"])
def small_chunks(request: pytest.FixtureRequest) -> Iterator[None]:
    """Every test with small chunks merged at once, and with small chunks that wait."""
    before, _chunks.SMALL = _chunks.SMALL, request.param
    yield
    _chunks.SMALL = before


def normal(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape, dtype=np.float32)


def all_distances(xq: np.ndarray, xb: np.ndarray, metric: int) -> np.ndarray:
    """In float64, from differences."""
    q, b = xq.astype(np.float64), xb.astype(np.float64)
    if metric == METRIC_INNER_PRODUCT:
        return q @ b.T
    return np.stack([((row - b) ** 2).sum(1) for row in q]) if len(q) else np.zeros((0, len(b)))


def check_exact(D: np.ndarray, I: np.ndarray, xq: np.ndarray, xb: np.ndarray, k: int, metric: int) -> None:
    """The accuracy contract: ids of a float64 computation unless within 1e-6, distances within 1e-5, both relative."""
    assert D.dtype == np.float32
    assert I.dtype == np.int64
    assert D.shape == I.shape == (len(xq), k)
    exact = all_distances(xq, xb, metric)
    sign = 1 if metric == METRIC_L2 else -1
    order = np.argsort(sign * exact, axis=1, kind="stable")[:, :k]
    found = min(k, len(xb))
    assert (I[:, found:] == -1).all()
    assert (D[:, found:] == WORST[metric]).all()
    I, D = I[:, :found], D[:, :found]
    assert all(len(set(row)) == found for row in I.tolist())
    of_ours, of_oracle = np.take_along_axis(exact, I, 1), np.take_along_axis(exact, order, 1)
    if metric == METRIC_L2:
        scale = np.abs(of_oracle)
    else:  # an inner product near zero has the scale of its terms
        terms = np.abs(xq).astype(np.float64) @ np.abs(xb).astype(np.float64).T
        scale = np.take_along_axis(terms, order, 1)
    assert (np.abs(of_ours - of_oracle) <= 1e-6 * scale).all()
    assert (np.abs(D - of_ours) <= 1e-5 * scale + 1e-30).all()


def built(kind: Callable[..., Any], x: np.ndarray, **options: Any) -> Any:
    index = kind(x.shape[1], **options)
    index.add(x)
    return index


def chunked(x: mx.array, kind: Any = IndexFlatL2) -> Any:
    index = kind(x.shape[1])
    for start, end in ((0, 40), (40, 43), (43, x.shape[0])):
        index.add(x[start:end])
    return index


def raises(error: type[Exception], message: str, call: Callable[[], object]) -> None:
    with pytest.raises(error) as caught:
        call()
    assert str(caught.value) == message

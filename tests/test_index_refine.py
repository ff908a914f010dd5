"""IndexRefine and IndexRefineFlat."""

from __future__ import annotations

import pickle
from typing import Any

import mlx.core as mx
import numpy as np
import pytest

import metalfaiss
from metalfaiss import (
    IndexFlat,
    IndexFlatL2,
    IndexPreTransform,
    IndexRefine,
    IndexRefineFlat,
    IndexRefineSearchParameters,
    SearchParameters,
)

rng = np.random.default_rng(3)
XB, XQ = rng.standard_normal((300, 8), dtype=np.float32), rng.standard_normal((6, 8), dtype=np.float32)


class Cut:
    """The first 5 of 8 dimensions."""

    d_in, d_out, is_trained = 8, 5, True

    def apply(self, x: mx.array) -> mx.array:
        return x[:, :5]


def built(metric: int = metalfaiss.METRIC_L2) -> Any:
    index = IndexRefineFlat(IndexPreTransform(Cut(), IndexFlat(5, metric)))
    index.add(XB)
    return index


def exact(metric: int) -> np.ndarray:
    if metric == metalfaiss.METRIC_L2:
        return ((XQ[:, None].astype(np.float64) - XB) ** 2).sum(-1)
    return XQ.astype(np.float64) @ XB.T


@pytest.mark.parametrize("metric", [metalfaiss.METRIC_L2, metalfaiss.METRIC_INNER_PRODUCT])
@pytest.mark.parametrize("k_factor", [1, 2.5, 100])
def test_search(metric: int, k_factor: float) -> None:
    index = built(metric)
    index.k_factor = k_factor
    _, candidates = index.base_index.search(XQ, int(4 * k_factor))
    D = exact(metric)
    sign = 1 if metric == metalfaiss.METRIC_L2 else -1
    expected = []
    for q in range(len(XQ)):
        known = candidates[q][candidates[q] >= 0]
        expected.append(known[np.argsort(sign * D[q, known], kind="stable")][:4])
    D_ours, I_ours = index.search(XQ, 4)
    np.testing.assert_array_equal(I_ours, expected)
    np.testing.assert_allclose(D_ours, np.take_along_axis(D, I_ours, 1), rtol=1e-5, atol=1e-5)
    D_lazy, I_lazy = index.search(mx.array(XQ), 4)
    np.testing.assert_array_equal(np.array(I_lazy), I_ours)
    np.testing.assert_array_equal(np.array(D_lazy), D_ours)


def test_parameters() -> None:
    index = built()
    sel = metalfaiss.IDSelectorRange(10, 14)
    everything = IndexRefineSearchParameters(k_factor=100)
    np.testing.assert_array_equal(index.search(XQ, 4, params=everything)[1], np.argsort(exact(1), 1)[:, :4])
    for params in (
        SearchParameters(sel=sel),
        IndexRefineSearchParameters(k_factor=2, sel=sel),
        IndexRefineSearchParameters(k_factor=2, base_index_params=SearchParameters(sel=sel)),
    ):
        D, I = index.search(XQ, 6, params=params)
        np.testing.assert_array_equal(I[:, :4], 10 + np.argsort(exact(1)[:, 10:14], 1))
        assert (I[:, 4:] == -1).all()
        assert (D[:, 4:] == np.finfo(np.float32).max).all()
    assert index.k_factor == 1
    with pytest.raises(ValueError, match=r"k_factor must be at least 1. Received 0.5"):
        index.search(XQ, 4, params=IndexRefineSearchParameters(k_factor=0.5))


def test_vectors_given_at_construction() -> None:
    base = IndexFlatL2(8)
    base.add(XB)
    index = IndexRefineFlat(base, XB)
    np.testing.assert_array_equal(index.search(XQ, 4)[1], base.search(XQ, 4)[1])
    with pytest.raises(ValueError, match=r"same ntotal. Received 300 and 0"):
        IndexRefineFlat(base)
    with pytest.raises(ValueError, match=r"same d. Received 8 and 4"):
        IndexRefine(base, IndexFlatL2(4))


def test_reconstruction_encoding_copies() -> None:
    index = built()
    np.testing.assert_array_equal(index.reconstruct_n(3, 4), XB[3:7])
    D, I, R = index.search_and_reconstruct(XQ, 2)
    np.testing.assert_array_equal(R, XB[I])
    assert index.sa_code_size() == 52
    np.testing.assert_array_equal(index.sa_decode(index.sa_encode(XB)), XB)
    twin = pickle.loads(pickle.dumps(index))
    np.testing.assert_array_equal(twin.search(XQ, 2)[0], D)
    index.reset()
    assert (index.ntotal, index.base_index.ntotal) == (0, 0)
    assert repr(index).startswith("IndexRefineFlat(IndexPreTransform(")

"""IndexPreTransform against the transform applied by hand."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import mlx.core as mx
import numpy as np
import pytest

import metalfaiss
from metalfaiss import IndexFlatL2, IndexIDMap2, IndexPreTransform, SearchParameters, SearchParametersPreTransform

rng = np.random.default_rng(3)
XB, XQ = rng.standard_normal((200, 8), dtype=np.float32), rng.standard_normal((6, 8), dtype=np.float32)


class Turn:
    """A rotation of 8 dimensions by an orthonormal matrix that training chooses."""

    d_in = d_out = 8

    def __init__(self) -> None:
        self.is_trained = False
        self.A = np.eye(8, dtype=np.float32)

    def train(self, x: Any) -> None:
        self.A = np.linalg.qr(np.array(x)[:8])[0].astype(np.float32)
        self.is_trained = True

    def apply(self, x: mx.array) -> mx.array:
        return x @ mx.array(self.A)

    def reverse_transform(self, x: mx.array) -> mx.array:
        return x @ mx.array(self.A.T)


class Cut:
    """The first 5 of 8 dimensions."""

    d_in, d_out, is_trained = 8, 5, True

    def apply(self, x: mx.array) -> mx.array:
        return x[:, :5]

    def reverse_transform(self, x: mx.array) -> mx.array:
        return mx.pad(x, [(0, 0), (0, 3)])


def built() -> tuple[Any, np.ndarray, np.ndarray]:
    index = IndexPreTransform(Cut(), IndexFlatL2(5))
    index.prepend_transform(Turn())
    assert not index.is_trained
    with pytest.raises(RuntimeError, match="must be trained"):
        index.add(XB)
    index.train(XB)
    assert index.is_trained
    index.add(XB)
    A = index.chain.at(0).A[:, :5]
    return index, XB @ A, XQ @ A


def test_search_range_search_and_filters() -> None:
    index, xb, xq = built()
    flat = IndexFlatL2(5)
    flat.add(xb)
    assert (index.d, index.ntotal, index.chain.size()) == (8, 200, 2)
    D, I = flat.search(xq, 9)
    np.testing.assert_array_equal(index.search(XQ, 9)[1], I)
    np.testing.assert_allclose(np.array(index.search(mx.array(XQ), 9)[0]), D, rtol=1e-4, atol=1e-5)
    sel = metalfaiss.IDSelectorRange(20, 90)
    I = flat.search(xq, 9, params=SearchParameters(sel=sel))[1]
    for params in (
        SearchParameters(sel=sel),
        SearchParametersPreTransform(sel=sel),
        SearchParametersPreTransform(index_params=SearchParameters(sel=sel)),
        SearchParametersPreTransform(index_params=SearchParameters(sel=lambda i: 20 <= i < 90)),
    ):
        np.testing.assert_array_equal(index.search(XQ, 9, params=params)[1], I)


def test_ids_around_a_transform() -> None:
    index, xb, xq = built()
    index.reset()
    mapped = IndexIDMap2(index)
    mapped.add_with_ids(XB, np.arange(200) + 1000)
    inner = SearchParametersPreTransform(index_params=SearchParameters(sel=metalfaiss.IDSelectorRange(1020, 1090)))
    flat = IndexFlatL2(5)
    flat.add(xb)
    expected = flat.search(xq, 9, params=SearchParameters(sel=metalfaiss.IDSelectorRange(20, 90)))[1] + 1000
    np.testing.assert_array_equal(mapped.search(XQ, 9, params=inner)[1], expected)
    assert mapped.remove_ids(np.array([1000])) == 1


def test_reconstruction_is_reversed() -> None:
    index, xb, _ = built()
    back = index.reverse_chain(xb)
    np.testing.assert_allclose(index.apply_chain(XB), xb, atol=1e-5)
    np.testing.assert_allclose(index.reconstruct_n(), back, atol=1e-5)
    np.testing.assert_allclose(index.reconstruct(7), back[7], atol=1e-5)
    _, I, R = index.search_and_reconstruct(XQ, 3)
    np.testing.assert_allclose(R, back[I], atol=1e-5)
    np.testing.assert_allclose(index.sa_decode(index.sa_encode(XB)), back, atol=1e-5)
    assert index.sa_code_size() == 20


def test_changes_and_copies() -> None:
    index, _, _ = built()
    twin = pickle.loads(pickle.dumps(index))
    np.testing.assert_array_equal(twin.search(XQ, 5)[1], index.search(XQ, 5)[1])
    index.merge_from(copy.deepcopy(index))
    assert index.ntotal == 400
    assert index.remove_ids(metalfaiss.IDSelectorRange(200, 500)) == 200
    np.testing.assert_array_equal(twin.search(XQ, 5)[1], index.search(XQ, 5)[1])
    assert repr(index).startswith("IndexPreTransform([Turn(8, 8), Cut(8, 5)], IndexFlatL2(5")
    index.reset()
    assert index.ntotal == 0


def test_errors() -> None:
    with pytest.raises(ValueError, match=r"must have d_out 8. Received 5"):
        IndexPreTransform(Cut(), IndexFlatL2(8))
    with pytest.raises(TypeError, match="must be an Index"):
        IndexPreTransform(Cut())
    with pytest.raises(TypeError, match=r"Received 0 arguments"):
        IndexPreTransform()

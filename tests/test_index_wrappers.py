"""Smaller types around other indexes, against FAISS: scaled rows, binary codes as vectors, vectors kept once, and lists
whose quantizer sees other vectors."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import faiss
import mlx.core as mx
import numpy as np
import pytest
from oracles.both import BOTH

import metalfaiss

D = 16
rng = np.random.default_rng(5)
X = rng.standard_normal((300, D)).astype(np.float32)
X[3], X[4] = 2.5, 0  # rows of one value
CODES = rng.integers(0, 256, (200, 4), dtype=np.uint8)


def same_results(ours: Any, theirs: Any) -> None:
    np.testing.assert_allclose(ours[0], theirs[0], rtol=1e-4, atol=1e-4)
    np.testing.assert_array_equal(ours[1], theirs[1])


def both_ways(theirs: Any) -> Any:
    """FAISS's index as it is read here; what is written is what FAISS wrote, and is read there."""
    written = faiss.serialize_index(theirs)
    ours = metalfaiss.deserialize_index(written)
    again = metalfaiss.serialize_index(ours)
    if "Independent" in type(theirs).__name__:
        again[8:16] = 0  # FAISS's ntotal is that of the constructor
    assert again.tobytes() == written.tobytes()
    assert type(faiss.deserialize_index(metalfaiss.serialize_index(ours))) is type(theirs)
    return ours


# -------------------------------------------------------------------------------------- scaled rows


@pytest.mark.parametrize("kind", ["MinMax,SQ8", "MinMaxFP16,SQ8", "MinMax,SQ4", "MinMaxFP16,Flat", "MinMax,IVF4,SQ8"])
def test_scaled_rows(kind: str) -> None:
    theirs = faiss.index_factory(D, kind)
    both_ways(theirs)
    theirs.train(X)
    codes = theirs.sa_encode(X)
    trained = metalfaiss.index_factory(D, kind)
    trained.train(X)
    for ours in (both_ways(theirs), trained) if "IVF" not in kind else (both_ways(theirs),):
        assert (ours.sa_code_size(), ours.ntotal, ours.is_trained) == (theirs.sa_code_size(), 0, True)
        assert (ours.sa_encode(X) == codes).mean() > 0.999  # but for rounding
        np.testing.assert_allclose(ours.sa_decode(codes), theirs.sa_decode(codes), rtol=1e-4, atol=1e-5)
        lazy = ours.sa_decode(ours.sa_encode(mx.array(X)))
        np.testing.assert_allclose(np.array(lazy), X, atol=0.3)
        for method, args in (("add", (X,)), ("search", (X, 3)), ("reset", ())):
            with pytest.raises(RuntimeError, match=rf"\[{type(ours).__name__}\.{method}\]"):
                getattr(ours, method)(*args)
    with pytest.raises(TypeError, match="index must be an Index"):
        metalfaiss.IndexRowwiseMinMax(3)  # type: ignore[arg-type]


def test_scaled_rows_are_trained_like_others() -> None:
    index = metalfaiss.IndexRowwiseMinMax(metalfaiss.IndexScalarQuantizer(D))
    with pytest.raises(RuntimeError, match="must be trained"):
        index.sa_encode(X)
    before = X.copy()
    index.train_inplace(X)
    np.testing.assert_array_equal(X, before)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(index)).sa_encode(X), index.sa_encode(X))


# --------------------------------------------------------------------------------- codes as vectors


def test_binary_codes_as_vectors() -> None:
    theirs = faiss.IndexBinaryFromFloat(faiss.index_factory(32, "IVF4,Flat"))
    theirs.train(CODES)
    theirs.add(CODES)
    written = faiss.serialize_index_binary(theirs)
    read = metalfaiss.deserialize_index_binary(written)
    assert metalfaiss.serialize_index_binary(read).tobytes() == written.tobytes()
    own = metalfaiss.IndexBinaryFromFloat(metalfaiss.IndexFlatL2(32))
    assert (own.is_trained, own.d, own.code_size, own.ntotal) == (True, 32, 4, 0)
    own.add(CODES)
    exact = faiss.IndexBinaryFlat(32)
    exact.add(CODES)
    for ours, wanted in ((read, theirs), (own, exact), (copy.deepcopy(own), exact)):
        D_, I = ours.search(CODES[:20], 4)
        assert (D_.dtype, I.dtype) == (np.int32, np.int64)
        np.testing.assert_array_equal(D_, wanted.search(CODES[:20], 4)[0])
        np.testing.assert_array_equal(I[:, 0], np.arange(20))
    D_, I = own.search(CODES[:1], 201)
    assert (D_[0, -1], I[0, -1]) == (2**31 - 1, -1)
    chosen = metalfaiss.SearchParameters(sel=metalfaiss.IDSelectorRange(50, 60))
    assert (own.search(mx.array(CODES[:5]), 3, params=chosen)[1] // 10 == 5).all()
    own.reset()
    assert own.ntotal == 0
    with pytest.raises(ValueError, match="index must have METRIC_L2"):
        metalfaiss.IndexBinaryFromFloat(metalfaiss.IndexFlatIP(32))
    with pytest.raises(ValueError, match="d must be a multiple of 8"):
        metalfaiss.IndexBinaryFromFloat(metalfaiss.IndexFlatL2(20))


# -------------------------------------------------------------------------------- vectors kept once

TWICE = np.concatenate([X[:100], X[:20], X[100:150], X[:5], X[:5]])


def once(f: Any) -> Any:
    quantizer = f.IndexFlatL2(D)
    quantizer.add(X[:4])
    index = f.IndexIVFFlatDedup(quantizer, D, 4)
    index.train(TWICE)
    index.add(TWICE[:110])
    index.add_with_ids(TWICE[110:], np.arange(110, 180))
    index.nprobe = 4
    return index


def under_all_ids(index: Any, k: int, **options: Any) -> Any:
    """Results in an order that does not depend on the table of repetitions."""
    Ds, I = index.search(X[:30], k, **options)
    order = np.lexsort((I, Ds.round(4)))
    return np.take_along_axis(Ds, order, 1), np.take_along_axis(I, order, 1)


def test_vectors_are_kept_once() -> None:
    ours, theirs = once(metalfaiss), once(faiss)
    assert ours.ntotal == theirs.ntotal == 180
    assert ours.invlists.compute_ntotal() == theirs.invlists.compute_ntotal() == 150
    same_results(under_all_ids(ours, 180), under_all_ids(theirs, 180))
    for k in (1, 2, 7):
        np.testing.assert_allclose(ours.search(X[:30], k)[0], theirs.search(X[:30], k)[0], rtol=1e-4, atol=1e-4)
    read = both_ways(theirs)
    same_results(under_all_ids(read, 180), under_all_ids(theirs, 180))
    there = faiss.deserialize_index(metalfaiss.serialize_index(ours))
    same_results(under_all_ids(there, 180), under_all_ids(theirs, 180))
    gone = np.array([0, 100, 3, 7, 107, 140, 175])
    assert ours.remove_ids(gone) == 7
    theirs.remove_ids(gone)  # returns, and counts, vectors in lists
    assert ours.ntotal == 173
    same_results(under_all_ids(ours, 173), under_all_ids(theirs, 173))
    same_results(under_all_ids(copy.deepcopy(ours), 173), under_all_ids(theirs, 173))
    ours.reset()
    assert (ours.ntotal, ours.search(X[:1], 1)[1].tolist()) == (0, [[-1]])


def test_vectors_may_come_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("metalfaiss.indexes.ivf_flat_dedup._PARTS", 3)
    x = TWICE.copy()
    x[:, :2] = 1  # so that all begin alike
    together, single = (metalfaiss.IndexIVFFlatDedup(metalfaiss.IndexFlatL2(D), D, 4) for _ in range(2))
    for index in (together, single):
        index.train(x)
        index.nprobe = 4
    together.add(x)
    for i in range(len(x)):
        single.add(x[i : i + 1])
        assert single.search(x[i : i + 1], 1)[0][0, 0] == 0
    assert together.invlists.compute_ntotal() == single.invlists.compute_ntotal() == 150
    assert together.ntotal == single.ntotal == 180
    same_results(under_all_ids(single, 180), under_all_ids(together, 180))


def test_filters_look_at_all_ids_of_a_vector() -> None:
    index, exact = once(metalfaiss), metalfaiss.IndexFlatL2(D)
    exact.add(TWICE)
    for sel in (metalfaiss.IDSelectorRange(100, 125), metalfaiss.PyCallbackIDSelector(lambda i: i % 3 == 1)):
        wanted = exact.search(X[:30], 9, params=metalfaiss.SearchParameters(sel=sel))
        found = index.search(X[:30], 9, params=metalfaiss.SearchParametersIVF(sel=sel, nprobe=4))
        np.testing.assert_allclose(found[0], wanted[0], rtol=1e-4, atol=1e-4)
        assert [sorted(row) for row in found[1][:, :3]] == [sorted(row) for row in wanted[1][:, :3]]


@BOTH
def test_what_vectors_kept_once_cannot_do(lib: Any) -> None:
    index = once(lib)
    for call in (
        lambda: index.range_search(X, 1.0),
        lambda: index.update_vectors(np.array([1]), X[:1]),
        lambda: index.reconstruct(3),
    ):
        with pytest.raises(RuntimeError):
            call()


def test_refusals_name_what_can() -> None:
    index = once(metalfaiss)
    for call in (
        lambda: index.set_direct_map_type(1),
        lambda: index.search_and_return_codes(X, 3),
        lambda: index.reconstruct_n(0, 2),
        lambda: index.merge_from(once(metalfaiss)),
    ):
        with pytest.raises(RuntimeError, match="such as IndexIVFFlat"):
            call()


# ------------------------------------------------------------------- a quantizer of other vectors


def independent(f: Any, kind: str, transformed: bool) -> Any:
    quantizer, inside = f.IndexFlatL2(D), 8 if transformed else D
    vt = f.RemapDimensionsTransform(D, inside, False) if transformed else None
    if kind == "Flat":
        ivf = f.IndexIVFFlat(f.IndexFlatL2(inside), inside, 8)
    else:
        ivf = f.IndexIVFScalarQuantizer(f.IndexFlatL2(inside), inside, 8, f.ScalarQuantizer.QT_8bit)
    quantizer.add(X[:8])  # known centroids, so that both have the same
    return f.IndexIVFIndependentQuantizer(quantizer, ivf, *([vt] if vt else []))


@pytest.mark.parametrize("kind", ["Flat", "SQ8"])
@pytest.mark.parametrize("transformed", [False, True])
def test_a_quantizer_of_other_vectors(kind: str, transformed: bool) -> None:
    ours, theirs = (independent(f, kind, transformed) for f in (metalfaiss, faiss))
    for index in (ours, theirs):
        assert not index.is_trained
        index.train(X)
        index.add(X[:200])
        index.add(X[200:])
        index.index_ivf.nprobe = 3
    assert (ours.ntotal, ours.d, ours.is_trained) == (300, D, True)
    wanted = theirs.search(X[:40], 5)
    for index in (ours, both_ways(theirs), pickle.loads(pickle.dumps(ours))):
        D_, I = index.search(X[:40], 5)
        np.testing.assert_allclose(D_, wanted[0], rtol=1e-2 if kind == "SQ8" else 1e-4, atol=1e-4)
        assert (wanted[1] == I).mean() > 0.99
    few = metalfaiss.SearchParametersIVF(nprobe=8, sel=metalfaiss.IDSelectorRange(10, 20))
    assert (ours.search(X[:5], 3, params=few)[1] // 10 == 1).all()
    ours.reset()
    assert ours.ntotal == 0


def test_an_independent_quantizer_learns() -> None:
    index = metalfaiss.IndexIVFIndependentQuantizer(
        metalfaiss.IndexFlatL2(D), metalfaiss.IndexIVFFlat(metalfaiss.IndexFlatL2(8), 8, 8), metalfaiss.PCAMatrix(D, 8)
    )
    index.train(X)
    index.add(X)
    assert (index.quantizer.ntotal, index.index_ivf.quantizer.ntotal) == (8, 8)
    assert (index.search(X[5:50], 1)[1].ravel() == np.arange(5, 50)).all()


def test_parts_of_an_independent_quantizer_agree() -> None:
    flat, ivf = metalfaiss.IndexFlatL2(D), metalfaiss.IndexIVFFlat(metalfaiss.IndexFlatL2(8), 8, 8)
    with pytest.raises(ValueError, match="vt must lead from 16 to 8 dimensions"):
        metalfaiss.IndexIVFIndependentQuantizer(flat, ivf)
    with pytest.raises(TypeError, match="index_ivf must be an IndexIVF"):
        metalfaiss.IndexIVFIndependentQuantizer(flat, flat)  # type: ignore[arg-type]
    flat.add(X[:3])
    with pytest.raises(ValueError, match="quantizer must hold 8 vectors"):
        metalfaiss.IndexIVFIndependentQuantizer(flat, ivf, metalfaiss.PCAMatrix(D, 8))

"""IndexLSH against FAISS: the same codes, the same distances."""

import copy
import pickle

import faiss
import mlx.core as mx
import numpy as np
import pytest

from metalfaiss import IDSelectorRange, IndexLSH, LinearTransform, SearchParameters, vector_to_array
from metalfaiss.indexes import lsh

FORMS = [(32, True, False), (50, True, True), (20, True, False), (32, False, True), (13, False, False)]
D = 32


@pytest.fixture
def x(rng):
    return rng.standard_normal((301, D), dtype=np.float32) + 0.3


def both(form, x):
    ours, theirs = IndexLSH(D, *form), faiss.IndexLSH(D, *form)
    for index in (ours, theirs):
        index.train(x)
        index.add(x)
    return ours, theirs


@pytest.mark.parametrize("form", FORMS, ids=str)
def test_as_faiss(rng, x, form):
    ours, theirs = both(form, x)
    assert (ours.nbits, ours.code_size, ours.ntotal) == (theirs.nbits, theirs.code_size, 301)
    np.testing.assert_allclose(vector_to_array(ours.thresholds), faiss.vector_to_array(theirs.thresholds), atol=1e-5)
    codes, wanted = vector_to_array(ours.codes), faiss.vector_to_array(theirs.codes)
    different = np.unpackbits(codes ^ wanted).sum()
    assert different <= (2 if form[1] or form[2] else 0)  # a value that rounding moves across its threshold
    xq = rng.standard_normal((9, D), dtype=np.float32)
    D_, I = ours.search(xq, 7)
    assert np.abs(D_ - theirs.search(xq, 7)[0]).sum() <= 2 * different
    assert (D_.dtype, I.dtype) == (np.float32, np.int64)
    np.testing.assert_array_equal(ours.sa_encode(x), codes.reshape(301, -1))
    known = D if form[1] else form[0]  # FAISS leaves the rest as it was in memory
    decoded, wanted = ours.sa_decode(ours.sa_encode(x)), theirs.sa_decode(ours.sa_encode(x))
    np.testing.assert_allclose(decoded[:, :known], wanted[:, :known], atol=1e-4)
    np.testing.assert_allclose(ours.reconstruct(3), ours.reconstruct_n(3, 1)[0], atol=0)
    np.testing.assert_allclose(ours.apply_preprocess(xq) >= 0, np.unpackbits(ours.sa_encode(xq), 1, form[0], "little"))


def test_filters_and_range_search(x):
    index, _ = both((32, True, False), x)
    everything = index.search(x[:5], 301)
    params = SearchParameters(sel=IDSelectorRange(10, 40))
    D_, I = index.search(x[:5], 50, params=params)
    for i in range(5):
        inside = (everything[1][i] >= 10) & (everything[1][i] < 40)
        np.testing.assert_array_equal(I[i, :30], everything[1][i][inside])
        np.testing.assert_array_equal(D_[i, :30], everything[0][i][inside])
    assert (I[:, 30:] == -1).all()
    assert (D_[:, 30:] == np.finfo(np.float32).max).all()


@pytest.mark.parametrize("options", [(32, True, False), (20, True, True), (16, False, True)])
def test_range_search_has_distances_of_decoded_vectors(x, options, monkeypatch):
    monkeypatch.setattr(lsh, "_DECODED", 100 * x.shape[1])
    index, other = both(options, x)
    params = SearchParameters(sel=IDSelectorRange(10, 140))
    radius = float(np.median(((index.sa_decode(index.sa_encode(x)) - x[0]) ** 2).sum(1))) + 0.013
    for ours, theirs in (
        (index.range_search(x[:5], radius), other.range_search(x[:5], radius)),
        (
            index.range_search(x[:5], radius, params=params),
            other.range_search(x[:5], radius, params=faiss.SearchParameters(sel=faiss.IDSelectorRange(10, 140))),
        ),
    ):
        np.testing.assert_array_equal(ours[0], theirs[0])
        np.testing.assert_array_equal(ours[2], theirs[2])
        np.testing.assert_allclose(ours[1], theirs[1], rtol=1e-4)
    index.reset()
    assert index.range_search(x[:5], radius)[0].tolist() == [0] * 6


def test_changes_and_copies(x):
    index, other = both((32, True, True), x)[0], both((32, True, True), x)[0]
    for copied in (copy.deepcopy(index), pickle.loads(pickle.dumps(index))):
        np.testing.assert_array_equal(copied.search(x[:4], 3)[1], index.search(x[:4], 3)[1])
        assert repr(copied) == "IndexLSH(d=32, nbits=32, rotate_data=True, train_thresholds=True, ntotal=301)"
    assert index.remove_ids(np.arange(300)) == 300
    index.merge_from(other)
    assert (index.ntotal, other.ntotal) == (302, 0)
    assert index.search(x[:1], 1)[1][0, 0] == 1
    index.codes = vector_to_array(index.codes)[:8]
    assert index.ntotal == 2
    with pytest.raises(RuntimeError, match=r"same nbits. Received 32 and 16"):
        index.merge_from(IndexLSH(32, 16))


def test_mlx(x):
    index, _ = both((32, True, False), x)
    wanted = index.search(x[:6], 4)
    for search in (lambda q: index.search(q, 4), mx.compile(lambda q: index.search(q, 4))):
        for a, b in zip(search(mx.array(x[:6])), wanted, strict=True):
            assert isinstance(a, mx.array)
            np.testing.assert_array_equal(np.array(a), b)


def test_transferred_thresholds(x):
    index = IndexLSH(D, D, False, True)
    index.train(x)
    codes = index.sa_encode(x)
    transform = LinearTransform(D, D)
    transform.A = np.eye(D, dtype=np.float32)
    transform.is_trained = True
    index.transfer_thresholds(transform)
    assert not index.train_thresholds
    np.testing.assert_array_equal(index.sa_encode(transform.apply(x)), codes)
    with pytest.raises(RuntimeError, match=r"must have trained thresholds"):
        index.transfer_thresholds(transform)


def test_errors(x):
    with pytest.raises(ValueError, match=r"nbits must be at most d = 32 without rotation. Received 33"):
        IndexLSH(D, 33, False)
    with pytest.raises(ValueError, match=r"nbits must be at least 1"):
        IndexLSH(D, 0)
    index = IndexLSH(D, 8, True, True)
    with pytest.raises(RuntimeError, match=r"must be trained"):
        index.add(x)
    with pytest.raises(RuntimeError, match=r"vectors to take medians of"):
        index.train(x[:0])
    with pytest.raises(ValueError, match=r"must be 8 thresholds. Received 3"):
        index.thresholds = np.zeros(3)
    with pytest.raises(ValueError, match=r"must have 1 bytes|Received"):
        IndexLSH(D, 16).codes = np.zeros(3, np.uint8)

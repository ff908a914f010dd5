"""IndexRandom and IndexSplitVectors against FAISS, and classes that are known by name alone."""

import copy
import pickle

import faiss
import mlx.core as mx
import numpy as np
import pytest

import metalfaiss
from metalfaiss.planned import PLANNED


@pytest.mark.parametrize("metric", [faiss.METRIC_L2, faiss.METRIC_INNER_PRODUCT])
def test_random(rng, metric):
    x = rng.standard_normal((20, 8), dtype=np.float32)
    ours, theirs = (module.IndexRandom(8, 90, 77, metric) for module in (metalfaiss, faiss))
    for index in (ours, theirs):
        index.add(x)
        assert (index.ntotal, index.seed, index.is_trained, index.metric_type) == (110, 77, True, metric)
    for k in (1, 9, 110):
        for found, wanted in zip(ours.search(x, k), theirs.search(x, k), strict=True):
            np.testing.assert_array_equal(found, wanted)
    np.testing.assert_array_equal(ours.reconstruct(5), theirs.reconstruct(5))
    np.testing.assert_array_equal(ours.reconstruct_n(3, 4), theirs.reconstruct_n(3, 4))
    lazy = ours.search(mx.array(x), 3)
    for made in (copy.deepcopy(ours), pickle.loads(pickle.dumps(ours))):
        np.testing.assert_array_equal(made.search(x, 3)[1], np.array(lazy[1]))
    for call, match in (
        (lambda: ours.search(x, 111), "k must be at most ntotal = 110"),
        (lambda: ours.search(x, 1, params=metalfaiss.SearchParameters()), "params must be None"),
        (lambda: ours.range_search(x, 1.0), "supports range_search"),
    ):
        with pytest.raises(RuntimeError, match=match):
            call()
    assert ours.search(x[:0], 3)[0].shape == (0, 3)
    ours.reset()
    assert ours.ntotal == 0


@pytest.fixture
def split(rng):
    pair = metalfaiss.IndexSplitVectors(8, True), faiss.IndexSplitVectors(8, True)
    kept = []
    for d, kind in ((3, "Flat"), (1, "SQ8"), (4, "IVF4,Flat")):
        x = rng.standard_normal((50, d), dtype=np.float32)
        theirs = faiss.index_factory(d, kind)
        theirs.train(x)
        theirs.add(x)
        kept.append((metalfaiss.deserialize_index(faiss.serialize_index(theirs)), theirs))
        for index, sub in zip(pair, kept[-1], strict=True):
            index.add_sub_index(sub)
    return *pair, kept


def test_split_vectors(rng, split):
    ours, theirs, kept = split
    x = rng.standard_normal((30, 8), dtype=np.float32)
    assert (ours.sum_d, ours.ntotal, ours.metric_type, ours.is_trained) == (8, 50, 1, True)
    D, I = theirs.search(x, 1)
    np.testing.assert_array_equal(ours.search(x, 1)[1], I)
    np.testing.assert_allclose(ours.search(x, 1)[0], D, rtol=1e-5)
    np.testing.assert_array_equal(np.array(ours.search(mx.array(x), 1)[1]), I)
    np.testing.assert_array_equal(mx.compile(lambda x: ours.search(x, 1))(mx.array(x))[1], I)
    assert copy.deepcopy(ours).search(x, 1)[1].tolist() == I.tolist()
    kept[2][0].reset()
    with pytest.raises(RuntimeError, match=r"same ntotal. Received 50 and 0"):
        ours.sync_with_sub_indexes()
    assert np.isnan(ours.search(x, 1)[0]).all()
    assert (ours.search(x, 1)[1] == -1).all()


def test_split_vectors_refuses(rng, split):
    ours, _, _ = split
    x = rng.standard_normal((3, 8), dtype=np.float32)
    for call, match in (
        (lambda: ours.search(x, 2), "k must be 1. Received 2"),
        (lambda: ours.search(x, 1, params=metalfaiss.SearchParameters()), "params must be None"),
        (lambda: metalfaiss.IndexSplitVectors(8).search(x, 1), "must have 8 dimensions. Received 0"),
        (lambda: ours.add(x), "supports add"),
        (lambda: ours.train(x), "supports train: train the indexes"),
        (lambda: ours.reset(), "supports reset: reset the indexes"),
        (lambda: ours.add_sub_index(metalfaiss.IndexFlatL2(2)), "same ntotal. Received 50 and 0"),
        (lambda: metalfaiss.serialize_index(ours), "of a type that FAISS's files hold"),
    ):
        with pytest.raises(RuntimeError, match=match):
            call()
    assert len(ours.sub_indexes) == 3
    with pytest.raises(TypeError, match="index must be"):
        ours.add_sub_index(3)


def test_planned_classes():
    """Programs ask what an index is not; what would make one says what is missing."""
    index = metalfaiss.IndexFlatL2(4)
    for name in sorted(PLANNED):
        assert isinstance(getattr(faiss, name), type)
        kind = getattr(metalfaiss, name)
        assert kind is getattr(metalfaiss, name)
        assert not isinstance(index, kind)
        with pytest.raises(NotImplementedError, match=rf"\[{name}\] {name} is not built yet"):
            kind(8, 4)
    built = {name for name in dir(metalfaiss) if name.startswith("Index")}
    missing = {name for name in dir(faiss) if name.startswith("Index") and isinstance(getattr(faiss, name), type)}
    assert missing - built - PLANNED == {"IndexIVFInterface", "IndexIVFPQStats", "IndexPQStats"}  # no indexes
    assert not built & PLANNED
    assert metalfaiss.swigfaiss is metalfaiss
    with pytest.raises(AttributeError, match="no attribute 'IndexFlatt'"):
        metalfaiss.IndexFlatt  # noqa: B018

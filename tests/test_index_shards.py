"""IndexShards and IndexReplicas against the index that they stand for."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import mlx.core as mx
import numpy as np
import pytest

import metalfaiss
from metalfaiss import IndexFlat, IndexFlatIP, IndexFlatL2, IndexIDMap2, IndexReplicas, IndexShards, SearchParameters

rng = np.random.default_rng(3)
XB, XQ = rng.standard_normal((201, 8), dtype=np.float32), rng.standard_normal((7, 8), dtype=np.float32)


def flat(kind: Any = IndexFlatL2) -> Any:
    index = kind(8)
    index.add(XB)
    return index


def sharded(kind: Any = IndexFlatL2, threaded: bool = False) -> Any:
    index = IndexShards(8, threaded)
    for _ in range(3):
        index.add_shard(kind(8))
    index.add(XB)
    return index


def replicated(kind: Any = IndexFlatL2, threaded: bool = False) -> Any:
    index = IndexReplicas(8, threaded)
    for _ in range(3):
        index.add_replica(kind(8))
    index.add(XB)
    return index


@pytest.mark.parametrize("make", [sharded, replicated])
@pytest.mark.parametrize("kind", [IndexFlatL2, IndexFlatIP])
@pytest.mark.parametrize("threaded", [False, True])
def test_search(make: Any, kind: Any, threaded: bool) -> None:
    index, one = make(kind, threaded), flat(kind)
    assert (index.count(), index.ntotal, index.d, index.metric_type) == (3, 201, 8, one.metric_type)
    for k in (1, 9, 210):
        for ours, expected in zip(index.search(XQ, k), one.search(XQ, k), strict=True):
            np.testing.assert_array_equal(ours, expected)
    np.testing.assert_array_equal(np.array(index.search(mx.array(XQ), 9)[1]), one.search(XQ, 9)[1])
    assert index.search(XQ[:0], 3)[0].shape == (0, 3)
    for sel in (metalfaiss.IDSelectorRange(60, 140), lambda i: i % 5 == 2):
        params = SearchParameters(sel=sel)
        np.testing.assert_array_equal(index.search(XQ, 9, params=params)[1], one.search(XQ, 9, params=params)[1])


@pytest.mark.parametrize("make", [sharded, replicated])
def test_reconstruct_remove_copy(make: Any) -> None:
    index, one = make(), flat()
    np.testing.assert_array_equal(index.reconstruct_n(60, 20), XB[60:80])
    np.testing.assert_array_equal(index.reconstruct(140), XB[140])
    _, I, R = index.search_and_reconstruct(XQ, 3)
    np.testing.assert_array_equal(R, XB[I])
    twin = pickle.loads(pickle.dumps(copy.deepcopy(index)))
    gone = np.array([0, 66, 67, 68, 200, 999])
    assert index.remove_ids(gone) == one.remove_ids(gone) == 5
    np.testing.assert_array_equal(index.search(XQ, 5)[1], one.search(XQ, 5)[1])
    assert twin.ntotal == 201
    index.reset()
    assert index.ntotal == 0
    assert repr(index).count("IndexFlatL2") == 3


def test_shards_with_ids_of_their_own() -> None:
    index = IndexShards(8, False, False)
    for _ in range(2):
        index.add_shard(IndexIDMap2(IndexFlatL2(8)))
    ids = rng.permutation(1000)[:201]
    index.add_with_ids(XB, ids)
    np.testing.assert_array_equal(index.search(XQ, 5)[1], ids[flat().search(XQ, 5)[1]])
    sel = metalfaiss.IDSelectorBatch(ids[50:150])
    found = index.search(XQ, 5, params=SearchParameters(sel=sel))[1]
    np.testing.assert_array_equal(found, ids[50:150][metalfaiss.knn(XQ, XB[50:150], 5)[1]])
    assert index.remove_ids(ids[:7]) == 7
    index.reset()
    index.add(XB)
    np.testing.assert_array_equal(index.search(XQ, 5)[1], flat().search(XQ, 5)[1])


def test_errors() -> None:
    index = sharded()
    with pytest.raises(RuntimeError, match="must be filled by one add"):
        index.add(XB)
    with pytest.raises(RuntimeError, match="successive_ids must be False"):
        index.add_with_ids(XB, np.arange(201))
    with pytest.raises(RuntimeError, match=r"same d. Received 8 and 4"):
        index.add_shard(IndexFlatL2(4))
    with pytest.raises(RuntimeError, match="same metric_type"):
        index.add_shard(IndexFlatIP(8))
    with pytest.raises(RuntimeError, match="same ntotal"):
        replicated().addIndex(IndexFlat(8))
    with pytest.raises(RuntimeError, match="at least one index"):
        IndexShards(8).search(XQ, 3)
    shard = index.at(1)
    index.remove_shard(shard)
    assert (index.count(), index.ntotal) == (2, 134)
    with pytest.raises(RuntimeError, match="must be one of the 2 members"):
        index.remove_shard(shard)

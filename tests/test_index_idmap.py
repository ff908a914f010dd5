"""IndexIDMap and IndexIDMap2 against FAISS's."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import faiss
import mlx.core as mx
import numpy as np
import pytest

import metalfaiss

rng = np.random.default_rng(3)
XB, XQ = rng.standard_normal((200, 8), dtype=np.float32), rng.standard_normal((6, 8), dtype=np.float32)
IDS = rng.permutation(10_000)[:200].astype(np.int64)


def built(f: Any, kind: str = "IndexIDMap2", flat: str = "IndexFlatL2") -> Any:
    index = getattr(f, kind)(getattr(f, flat)(8))
    index.add_with_ids(XB[:150], IDS[:150])
    index.add_with_ids(XB[150:], IDS[150:])
    return index


def same(ours: Any, theirs: Any) -> None:
    for a, b in zip(ours, theirs, strict=True):
        assert a.dtype == b.dtype
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kind", ["IndexIDMap", "IndexIDMap2"])
@pytest.mark.parametrize("flat", ["IndexFlatL2", "IndexFlatIP"])
def test_search(kind: str, flat: str) -> None:
    ours, theirs = built(metalfaiss, kind, flat), built(faiss, kind, flat)
    assert ours.ntotal == 200
    assert ours.is_trained
    same(ours.search(XQ, 7), theirs.search(XQ, 7))
    same(ours.search(XQ, 210), theirs.search(XQ, 210))
    D, I = ours.search(mx.array(XQ), 7)
    assert isinstance(D, mx.array)
    same((np.array(D), np.array(I)), theirs.search(XQ, 7))
    selector = [f.SearchParameters(sel=f.IDSelectorRange(1000, 6000)) for f in (metalfaiss, faiss)]
    same(ours.search(XQ, 7, params=selector[0]), theirs.search(XQ, 7, params=selector[1]))
    by_callback = ours.search(XQ, 7, params=metalfaiss.SearchParameters(sel=lambda i: 1000 <= i < 6000))
    same(by_callback, theirs.search(XQ, 7, params=selector[1]))


def test_an_empty_index() -> None:
    index = metalfaiss.IndexIDMap2(metalfaiss.IndexFlatL2(8))
    D, I = index.search(XQ, 3)
    assert (I == -1).all()
    assert (np.finfo(np.float32).max == D).all()
    assert index.remove_ids(np.array([3])) == 0


@pytest.mark.parametrize("selection", ["array", "list", "range", "callable"])
def test_remove_ids(selection: str) -> None:
    ours, theirs = built(metalfaiss), built(faiss)
    gone = IDS[:30]
    if selection in ("range", "callable"):
        chosen = faiss.IDSelectorRange(0, 4000)
        expected = theirs.remove_ids(chosen)
        given = metalfaiss.IDSelectorRange(0, 4000) if selection == "range" else lambda i: i < 4000
        assert ours.remove_ids(given) == expected
    else:
        theirs.remove_ids(gone)
        assert ours.remove_ids(gone if selection == "array" else [*gone.tolist(), 77_777]) == 30
    assert ours.ntotal == theirs.ntotal
    same(ours.search(XQ, 9), theirs.search(XQ, 9))
    np.testing.assert_array_equal(metalfaiss.vector_to_array(ours.id_map), faiss.vector_to_array(theirs.id_map))


def test_reconstruct() -> None:
    index = built(metalfaiss)
    np.testing.assert_array_equal(index.reconstruct(int(IDS[17])), XB[17])
    np.testing.assert_array_equal(index.reconstruct_batch(IDS[[5, 180, 5]]), XB[[5, 180, 5]])
    lazy = np.array(index.reconstruct_batch(mx.array([int(IDS[2]), 123_456])))
    np.testing.assert_array_equal(lazy[0], XB[2])
    assert np.isnan(lazy[1]).all()
    D, I, R = index.search_and_reconstruct(XQ, 4)
    same((D, I, R), built(faiss).search_and_reconstruct(XQ, 4))
    _, _, R = index.search_and_reconstruct(XQ, 4, params=metalfaiss.SearchParameters(sel=IDS[:2]))
    assert np.isnan(R[:, 2:]).all()
    with pytest.raises(ValueError, match=r"key must hold ids of stored vectors. Received 12345678"):
        index.reconstruct(12_345_678)
    run = metalfaiss.IndexIDMap2(metalfaiss.IndexFlatL2(8))
    run.add_with_ids(XB[:5], np.arange(100, 105))
    np.testing.assert_array_equal(run.reconstruct_n(101, 3), XB[1:4])
    run.add_with_ids(XB[7:8], [103])  # the last of equal ids counts
    np.testing.assert_array_equal(run.reconstruct(103), XB[7])


def test_merge_reset_and_encoding() -> None:
    ours, other = built(metalfaiss), built(metalfaiss)
    theirs, their_other = built(faiss), built(faiss)
    ours.merge_from(other, 20_000)
    theirs.merge_from(their_other, 20_000)
    assert (ours.ntotal, other.ntotal) == (400, 0)
    np.testing.assert_array_equal(metalfaiss.vector_to_array(ours.id_map), faiss.vector_to_array(theirs.id_map))
    np.testing.assert_array_equal(ours.reconstruct(int(IDS[3]) + 20_000), XB[3])
    assert ours.sa_code_size() == theirs.sa_code_size() == 32
    np.testing.assert_array_equal(ours.sa_decode(ours.sa_encode(XB)), XB)
    ours.reset()
    assert (ours.ntotal, ours.index.ntotal, ours.id_map.size()) == (0, 0, 0)


def test_copies_and_the_map() -> None:
    index = built(metalfaiss)
    for other in (pickle.loads(pickle.dumps(index)), copy.deepcopy(index)):
        same(other.search(XQ, 5), index.search(XQ, 5))
        other.add_with_ids(XB[:1], [5])
        assert (other.ntotal, index.ntotal) == (201, 200)
    assert repr(index) == f"IndexIDMap2({index.index!r})"
    assert index.id_map.at(3) == IDS[3]
    metalfaiss.copy_array_to_vector(IDS + 1, index.id_map)
    np.testing.assert_array_equal(index.search(XB[:4], 1)[1][:, 0], IDS[:4] + 1)


def test_errors() -> None:
    index = built(metalfaiss, "IndexIDMap")
    with pytest.raises(RuntimeError, match=r"\[IndexIDMap.add\] .* add_with_ids takes its place"):
        index.add(XB)
    with pytest.raises(RuntimeError, match=r"reconstruct.* IndexIDMap2"):
        index.reconstruct(int(IDS[0]))
    with pytest.raises(ValueError, match=r"ids must have shape \(2,\)"):
        index.add_with_ids(XB[:2], [1])
    with pytest.raises(TypeError, match="ids must hold integers"):
        index.add_with_ids(XB[:2], [0.5, 1.5])
    with pytest.raises(TypeError, match=r"index must be an Index. Received int"):
        metalfaiss.IndexIDMap(3)
    with pytest.raises(RuntimeError, match=r"index must be without vectors. Received 200"):
        metalfaiss.IndexIDMap(index.index)
    with pytest.raises(AttributeError, match="Received 'nprob'"):
        index.nprob = 3
    assert index.ntotal == 200

"""Indexes of binary codes against FAISS: exact search, ids of the caller's choice."""

import copy
import pickle
from concurrent.futures import ThreadPoolExecutor

import faiss
import mlx.core as mx
import numpy as np
import pytest

from metalfaiss import IDSelectorBatch, IDSelectorNot, IDSelectorRange, SearchParameters, SearchParametersIVF
from metalfaiss.indexes.binary_flat import IndexBinaryFlat
from metalfaiss.indexes.binary_id_map import IndexBinaryIDMap, IndexBinaryIDMap2
from metalfaiss.indexes.binary_ivf import IndexBinaryIVF
from metalfaiss.vectors import copy_array_to_vector, vector_to_array

D = 72
WORST = 2**31 - 1


def codes(rng, n, d=D):
    return rng.integers(0, 256, (n, d // 8), dtype=np.uint8) & rng.integers(0, 256, (n, d // 8), dtype=np.uint8)


@pytest.fixture
def xb(rng):
    return codes(rng, 700)


@pytest.fixture
def xq(rng):
    return codes(rng, 12)


def expected(xq, xb, k, keep=None, ids=None):
    """By distance, then by id."""
    ids = np.arange(len(xb)) if ids is None else ids
    keep = np.ones(len(xb), bool) if keep is None else keep
    d = np.unpackbits(xq[:, None] ^ xb[None], axis=-1).sum(-1)
    D, I = np.full((len(xq), k), WORST, np.int32), np.full((len(xq), k), -1, np.int64)
    for i, row in enumerate(d):
        order = [j for j in np.lexsort((ids, row)) if keep[j]][:k]
        D[i, : len(order)], I[i, : len(order)] = row[order], ids[order]
    return D, I


def same(found, want):
    for a, b in zip(found, want, strict=True):
        np.testing.assert_array_equal(np.array(a), b)


def filled(xb, cls=IndexBinaryFlat):
    index = cls(D) if cls is IndexBinaryFlat else cls(IndexBinaryFlat(D))
    if cls is IndexBinaryFlat:
        index.add(xb)
    else:
        index.add_with_ids(xb, 3 * np.arange(len(xb))[::-1])
    return index


# ------------------------------------------------------------------------------------------------ flat


def test_search(xq, xb):
    index = IndexBinaryFlat(D)
    assert (index.d, index.code_size, index.ntotal, index.is_trained, index.metric_type) == (D, 9, 0, True, 1)
    index.train(xb)
    for begin, end in ((0, 300), (300, 300), (300, 301), (301, 700)):
        index.add(xb[begin:end])
        assert index.ntotal == end
        same(index.search(xq, 7), expected(xq, xb[:end], 7))
    D_, I = index.search(xq, 7)
    assert (D_.dtype, I.dtype) == (np.int32, np.int64)
    reference = faiss.IndexBinaryFlat(D)
    reference.add(xb)
    np.testing.assert_array_equal(D_, reference.search(xq, 7)[0])
    same([index.assign(xq, 7)], [I])
    same(index.search(xq, 701), expected(xq, xb, 701))
    assert repr(index) == "IndexBinaryFlat(d=72, ntotal=700)"
    np.testing.assert_array_equal(vector_to_array(index.xb), xb.reshape(-1))
    copy_array_to_vector(xb[:50].reshape(-1), index.xb)
    same(index.search(xq, 3), expected(xq, xb[:50], 3))
    with pytest.raises(ValueError, match=r"codes of 9 bytes. Received 4"):
        index.xb = xb[0, :4]
    index.reset()
    same(index.search(xq, 2), expected(xq, xb[:0], 2))


def test_mlx(xq, xb):
    index = IndexBinaryFlat(D)
    index.add(mx.array(xb[:400]))
    index.add(mx.array(xb[400:]))
    D_, I = index.search(mx.array(xq), 5)
    assert isinstance(D_, mx.array)
    assert D_.dtype == mx.int32
    same((D_, I), expected(xq, xb, 5))
    same(mx.compile(lambda x: index.search(x, 5))(mx.array(xq)), expected(xq, xb, 5))
    assert isinstance(index.assign(mx.array(xq), 2), mx.array)
    assert isinstance(index.search_and_reconstruct(mx.array(xq), 2)[2], mx.array)


@pytest.mark.parametrize("cls", [IndexBinaryFlat, IndexBinaryIDMap, IndexBinaryIDMap2])
@pytest.mark.parametrize(
    "sel",
    [
        IDSelectorRange(100, 1500),
        IDSelectorBatch([3, 9, 33, 5000]),
        IDSelectorNot(IDSelectorRange(0, 2000)),
        lambda i: i % 6 == 0,
        np.arange(2100) % 5 == 1,
        IDSelectorBatch([]),
    ],
    ids=["range", "batch", "not", "callable", "booleans", "none"],
)
def test_filters(xq, xb, cls, sel):
    index = filled(xb, cls)
    ids = np.arange(700) if cls is IndexBinaryFlat else 3 * np.arange(700)[::-1]
    params = SearchParameters(sel=sel)
    keep = np.array([params.sel.is_member(i) for i in ids.tolist()])
    found = index.search(xq, 9, params=params)
    if cls is IndexBinaryFlat:
        same(found, expected(xq, xb, 9, keep, ids))
    else:  # ties are ordered by position inside
        same([found[0]], [expected(xq, xb, 9, keep, ids)[0]])
        assert set(found[1][found[1] >= 0].tolist()) <= set(ids[keep].tolist())
    lims, D_, I = index.range_search(xq, 18, params=params)
    distances = np.unpackbits(xq[:, None] ^ xb[None], axis=-1).sum(-1)
    for i in range(len(xq)):
        inside = (distances[i] < 18) & keep
        row = slice(int(lims[i]), int(lims[i + 1]))
        assert sorted(I[row].tolist()) == sorted(ids[inside].tolist())
        assert sorted(D_[row].tolist()) == sorted(distances[i][inside].tolist())


def test_range_search(xq, xb):
    index, reference = filled(xb), faiss.IndexBinaryFlat(D)
    reference.add(xb)
    for radius in (0, 10, 17.5, 20, 1000):
        lims, D_, I = index.range_search(xq, radius)
        want = reference.range_search(xq, int(np.ceil(radius)))
        same((lims, D_, I), want)
        assert [a.dtype for a in (lims, D_, I)] == [a.dtype for a in want]
    assert index.range_search(xq, float("nan"))[0][-1] == 0
    assert index.range_search(xq, -3)[0][-1] == 0


def test_reconstruct(xq, xb):
    index = filled(xb)
    same([index.reconstruct(5)], [xb[5]])
    same([index.reconstruct_n()], [xb])
    same([index.reconstruct_n(3, 4)], [xb[3:7]])
    same([index.reconstruct_batch([9, 1])], [xb[[9, 1]]])
    _, I, R = index.search_and_reconstruct(xq, 3)
    same([R], [xb[I]])
    assert not IndexBinaryFlat(D).search_and_reconstruct(xq, 3)[2].any()
    out = np.empty((2, 9), np.uint8)
    assert index.reconstruct_n(1, 2, out) is out
    for bad in (-1, 700):
        with pytest.raises(ValueError, match=r"key must hold ids from 0 to 699"):
            index.reconstruct(bad)
    assert index.sa_code_size() == 9


def test_remove_and_merge(xq, xb):
    index = filled(xb)
    assert index.remove_ids(np.array([0, 5, 5, 900])) == 2
    left = np.delete(xb, [0, 5], axis=0)
    same(index.search(xq, 4), expected(xq, left, 4))
    assert index.remove_ids(IDSelectorRange(600, 2000)) == 98
    other = filled(xb[:10])
    index.merge_from(other)
    assert (other.ntotal, index.ntotal) == (0, 610)
    same(index.search(xq, 4), expected(xq, np.concatenate([left[:600], xb[:10]]), 4))
    with pytest.raises(RuntimeError, match=r"must have the same d. Received 72 and 8"):
        index.merge_from(IndexBinaryFlat(8))
    with pytest.raises(ValueError, match=r"must be another index"):
        index.merge_from(index)


@pytest.mark.parametrize("cls", [IndexBinaryFlat, IndexBinaryIDMap2])
@pytest.mark.parametrize("copied", [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))], ids=["deepcopy", "pickle"])
def test_copies(xq, xb, cls, copied):
    index = filled(xb, cls)
    other = copied(index)
    same(other.search(xq, 6), index.search(xq, 6))
    index.reset()
    assert other.ntotal == 700


def test_threads(xq, xb):
    index = filled(xb)
    want = index.search(xq, 5)
    with ThreadPoolExecutor(4) as pool:
        for found in pool.map(lambda i: index.search(xq[i % 12 : i % 12 + 1], 5), range(24)):
            assert any(np.array_equal(found[1][0], row) for row in want[1])


def test_errors(xq, xb):
    index = filled(xb)
    for d in (0, 12):
        with pytest.raises(ValueError, match=r"\[IndexBinaryFlat\] d must be"):
            IndexBinaryFlat(d)
    with pytest.raises(TypeError, match=r"\[IndexBinaryFlat.add\] x must be an array of uint8. Received float32."):
        index.add(xb.astype(np.float32))
    with pytest.raises(ValueError, match=r"x must have shape \(n, 9\). Received \(12, 8\)."):
        index.search(xq[:, :8], 1)
    with pytest.raises(ValueError, match=r"k must be at least 1"):
        index.search(xq, 0)
    with pytest.raises(RuntimeError, match=r"such as|supports add_with_ids"):
        index.add_with_ids(xq, np.arange(12))
    with pytest.raises(TypeError, match=r"params must be"):
        index.search(xq, 1, params=3)
    with pytest.raises(TypeError, match=r"thresh must be a number"):
        index.range_search(xq, "3")
    with pytest.raises(AttributeError, match=r"Received 'nprobe'"):
        index.nprobe = 3
    assert index.ntotal == 700


# ----------------------------------------------------------------------------------------------- IDMap


@pytest.mark.parametrize("cls", [IndexBinaryIDMap, IndexBinaryIDMap2])
def test_id_map(xq, xb, cls):
    index = filled(xb, cls)
    reference = getattr(faiss, cls.__name__)(faiss.IndexBinaryFlat(D))
    ids = 3 * np.arange(700)[::-1]
    reference.add_with_ids(xb, ids)
    np.testing.assert_array_equal(index.search(xq, 5)[0], reference.search(xq, 5)[0])
    same([vector_to_array(index.id_map)], [ids])
    assert repr(index) == f"{cls.__name__}(IndexBinaryFlat(d=72, ntotal=700))"
    assert index.remove_ids(np.array([0, 1, 3])) == 2
    assert index.ntotal == 698
    other = cls(IndexBinaryFlat(D))
    other.add_with_ids(xb[:2], [7, 8])
    index.merge_from(other, add_id=10**9)
    assert (other.ntotal, vector_to_array(index.id_map)[-2:].tolist()) == (0, [10**9 + 7, 10**9 + 8])
    assert 10**9 + 7 in index.search(xb[:1], 2)[1]
    with pytest.raises(RuntimeError, match=r"call add_with_ids"):
        index.add(xb)
    with pytest.raises(ValueError, match=r"ids must have shape"):
        index.add_with_ids(xb, [1])
    with pytest.raises(RuntimeError, match=r"index must be empty"):
        cls(filled(xb))
    with pytest.raises(TypeError, match=r"index must be an IndexBinary"):
        cls(3)
    index.reset()
    assert (index.ntotal, index.id_map.size()) == (0, 0)
    same(index.search(xq, 2), expected(xq, xb[:0], 2))


def test_id_map_reconstructs(xq, xb):
    index = filled(xb, IndexBinaryIDMap2)
    same([index.reconstruct(0), index.reconstruct(2097)], [xb[-1], xb[0]])
    same([index.search_and_reconstruct(xq, 2)[2]], [xb[::-1][index.search(xq, 2)[1] // 3]])
    with pytest.raises(ValueError, match=r"key must hold ids of stored codes. Received 1"):
        index.reconstruct(1)
    with pytest.raises(RuntimeError, match=r"reconstruct_n"):
        index.reconstruct_n()
    index.check_consistency()
    index.construct_rev_map()
    with pytest.raises(RuntimeError, match=r"reconstruct"):
        filled(xb, IndexBinaryIDMap).reconstruct(0)


# ------------------------------------------------------------------------------------------------- IVF


@pytest.fixture
def ivf(xb):
    index = IndexBinaryIVF(IndexBinaryFlat(D), D, 12)
    index.train(xb)
    index.add(xb)
    return index


def listed(ivf, xq, nprobe):
    """Which stored codes a search reads, (nq, ntotal)."""
    lists = np.empty(ivf.ntotal, np.int64)
    for i in range(ivf.nlist):
        lists[ivf.invlists.get_ids(i)] = i
    probes = ivf.quantizer.search(xq, nprobe)[1]
    return (lists[None, :, None] == probes[:, None, :]).any(-1)


@pytest.mark.parametrize("nprobe", [1, 4, 50])
def test_ivf_search(xq, xb, ivf, nprobe):
    ivf.nprobe = nprobe
    read = listed(ivf, xq, min(nprobe, 12))
    found = ivf.search(xq, 9)
    for i in range(len(xq)):
        same([part[i : i + 1] for part in found], expected(xq[i : i + 1], xb, 9, read[i]))
    same(ivf.search(xq, 9, params=SearchParametersIVF(nprobe=12)), expected(xq, xb, 9))
    same(ivf.search(mx.array(xq), 9), found)
    same(mx.compile(lambda x: ivf.search(x, 9))(mx.array(xq)), found)
    probes = ivf.quantizer.search(xq, min(nprobe, 12))[1]
    same(ivf.search_preassigned(xq, 9, probes), found)
    lims, D_, I = ivf.range_search(xq, 19)
    same(ivf.range_search_preassigned(xq, 19, probes), (lims, D_, I))
    distances = np.unpackbits(xq[:, None] ^ xb[None], axis=-1).sum(-1)
    inside = (distances < 19) & read
    same((I, D_), (np.nonzero(inside)[1], distances[inside]))


def test_ivf_as_faiss(xq, xb, ivf):
    quantizer = faiss.IndexBinaryFlat(D)
    quantizer.add(ivf.quantizer.reconstruct_n())
    reference = faiss.IndexBinaryIVF(quantizer, D, 12)
    assert reference.is_trained
    reference.add(xb)
    same([ivf.invlists.sizes()], [[reference.get_list_size(i) for i in range(12)]])
    for nprobe in (1, 5):
        ivf.nprobe = reference.nprobe = nprobe
        same([ivf.search(xq, 8)[0]], [reference.search(xq, 8)[0]])
    for codes_ in (ivf.max_codes, 60):
        ivf.max_codes = reference.max_codes = codes_
        same([ivf.search(xq, 8)[0]], [reference.search(xq, 8)[0]])


def test_ivf_training_is_as_good_as_faiss(xb):
    ours = IndexBinaryIVF(IndexBinaryFlat(D), D, 16)
    theirs = faiss.IndexBinaryIVF(faiss.IndexBinaryFlat(D), D, 16)
    for index in (ours, theirs):
        index.train(xb)
    assert ours.is_trained
    centroids = faiss.vector_to_array(faiss.downcast_IndexBinary(theirs.quantizer).xb).reshape(16, -1)
    wanted = np.unpackbits(xb[:, None] ^ centroids[None], axis=-1).sum(-1).min(1).mean()
    assert ours.quantizer.search(xb, 1)[0].mean() <= 1.03 * wanted


def test_ivf_filters(xq, xb, ivf):
    ivf.nprobe = 12
    for sel in (IDSelectorRange(20, 400), IDSelectorBatch([3, 600, 601]), lambda i: i % 7 == 0, np.arange(700) < 9):
        params = SearchParametersIVF(sel=sel, nprobe=12)
        keep = np.array([params.sel.is_member(i) for i in range(700)])
        same(ivf.search(xq, 9, params=params), expected(xq, xb, 9, keep))
        assert keep[ivf.range_search(xq, 22, params=params)[2]].all()


def test_ivf_ids_and_changes(xq, xb, ivf):
    ids = 5 * np.arange(700)[::-1]
    index = IndexBinaryIVF(ivf.quantizer, D, 12)
    assert index.is_trained
    index.add_with_ids(xb, ids)
    index.nprobe = 12
    same(index.search(xq, 6), expected(xq, xb, 6, ids=ids))
    assert index.remove_ids(ids[:100]) == 100
    same(index.search(xq, 6), expected(xq, xb[100:], 6, ids=ids[100:]))
    ivf.remove_ids(IDSelectorRange(100, 700))
    index.merge_from(ivf, add_id=10**6)
    assert (ivf.ntotal, index.ntotal) == (0, 700)
    same(index.search(xq, 6), expected(xq, np.roll(xb, -100, 0), 6, ids=np.r_[ids[100:], 10**6 + np.arange(100)]))
    index.set_direct_map_type(2)
    same([index.reconstruct(0)], [xb[-1]])
    with pytest.raises(RuntimeError, match=r"set_direct_map_type"):
        index.make_direct_map()
    index.remove_ids(np.array([0]))
    with pytest.raises(ValueError, match=r"key must hold ids of stored codes. Received 0"):
        index.reconstruct(0)
    index.reset()
    assert index.ntotal == 0
    same(index.search(xq, 2), expected(xq, xb[:0], 2))


def test_ivf_reconstructs_and_copies(xq, xb, ivf):
    with pytest.raises(RuntimeError, match=r"call make_direct_map"):
        ivf.reconstruct(3)
    same([ivf.reconstruct_n(5, 20)], [xb[5:25]])
    ivf.make_direct_map()
    same([ivf.reconstruct(3), ivf.reconstruct_batch([7, 2])], [xb[3], xb[[7, 2]]])
    ivf.add(xb[:3])
    same([ivf.reconstruct(701)], [xb[1]])
    with pytest.raises(RuntimeError, match=r"direct map must be none"):
        ivf.remove_ids(np.array([1]))
    for copied in (copy.deepcopy(ivf), pickle.loads(pickle.dumps(ivf))):
        same(copied.search(xq, 4), ivf.search(xq, 4))
        same([copied.reconstruct(701)], [xb[1]])
    assert repr(ivf) == "IndexBinaryIVF(d=72, nlist=12, nprobe=1, ntotal=703)"
    lists = copy.copy(ivf.invlists)
    ivf.reset()
    ivf.make_direct_map(False)
    ivf.replace_invlists(lists)
    assert ivf.ntotal == 703
    inside = IndexBinaryIDMap2(IndexBinaryIVF(ivf.quantizer, D, 12))
    inside.add_with_ids(xb, np.arange(700) + 50)
    same([inside.search(xb[:4], 1, params=SearchParametersIVF(nprobe=12))[0]], [np.zeros((4, 1))])


def test_ivf_errors(xq, xb, ivf):
    untrained = IndexBinaryIVF(IndexBinaryFlat(D), D, 12)
    for call in (lambda: untrained.add(xb), lambda: untrained.search(xq, 1)):
        with pytest.raises(RuntimeError, match=r"must be trained"):
            call()
    with pytest.raises(ValueError, match=r"quantizer must have d 8. Received 72"):
        IndexBinaryIVF(IndexBinaryFlat(D), 8, 3)
    with pytest.raises(TypeError, match=r"quantizer must be an IndexBinary"):
        IndexBinaryIVF(None, 8, 3)
    with pytest.raises(RuntimeError, match=r"same nlist. Received 12 and 3"):
        ivf.merge_from(IndexBinaryIVF(IndexBinaryFlat(D), D, 3))
    with pytest.raises(ValueError, match=r"nprobe must be at least 1"):
        ivf.search(xq, 1, params=SearchParametersIVF(nprobe=0))
    with pytest.raises(ValueError, match=r"Iq must have shape"):
        ivf.search_preassigned(xq, 1, np.zeros(3, np.int64))
    with pytest.raises(ValueError, match=r"invlists must have nlist 12"):
        ivf.replace_invlists(IndexBinaryIVF(IndexBinaryFlat(D), D, 3).invlists)

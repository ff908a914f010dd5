"""IndexIVFFlat, IndexIVFScalarQuantizer and ivflib against FAISS with the same centroids."""

from __future__ import annotations

import copy
import pickle
import threading
from typing import Any

import faiss
import mlx.core as mx
import numpy as np
import pytest

import metalfaiss
from metalfaiss import ivflib

D, NLIST = 19, 20
METRICS = [metalfaiss.METRIC_L2, metalfaiss.METRIC_INNER_PRODUCT]
KINDS = ["Flat", "QT_8bit", "QT_8bit plain", "QT_6bit", "QT_4bit", "QT_fp16", "QT_bf16 plain", "QT_4bit_uniform"]


def normal(n: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((n, D), dtype=np.float32)


X, XQ = normal(700), normal(700)[:50] + np.float32(0.1)


def make(library: Any, kind: str = "Flat", metric: int = 1, x: np.ndarray | None = X) -> Any:
    quantizer = library.IndexFlat(D, metric)
    quantizer.add(X[:NLIST])
    if kind == "Flat":
        index = library.IndexIVFFlat(quantizer, D, NLIST, metric)
    else:
        name, *plain = kind.split()
        qtype = getattr(library.ScalarQuantizer, name)
        index = library.IndexIVFScalarQuantizer(quantizer, D, NLIST, qtype, metric, not plain)
        index.train(X)
    index.nprobe = 5
    if x is not None:
        index.add(x)
    return index


def hits(limits: np.ndarray, ids: np.ndarray) -> set[tuple[int, int]]:
    return set(
        zip(np.repeat(np.arange(len(limits) - 1), np.diff(limits.astype(np.int64))).tolist(), ids.tolist(), strict=True)
    )


def apart(distances: np.ndarray) -> np.ndarray:
    """Where no other result is as far: FAISS orders ties otherwise, and rounds more. Not the last, for those behind."""
    gap = np.abs(np.diff(distances, axis=1)) > 1e-5 * np.abs(distances[:, 1:]) + 1e-6
    padded = np.pad(gap, ((0, 0), (1, 1)), constant_values=True)
    padded[:, -1] = False
    return padded[:, :-1] & padded[:, 1:]


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("kind", KINDS)
def test_against_faiss(kind: str, metric: int, simd_level: str) -> None:
    ours, theirs = make(metalfaiss, kind, metric), make(faiss, kind, metric)
    assert (ours.code_size, ours.ntotal, ours.by_residual) == (theirs.code_size, 700, theirs.by_residual)
    for i in range(NLIST):
        n = theirs.get_list_size(i)
        assert ours.get_list_size(i) == n
        np.testing.assert_array_equal(ours.invlists.get_ids(i), faiss.rev_swig_ptr(theirs.invlists.get_ids(i), n))
        codes = faiss.rev_swig_ptr(theirs.invlists.get_codes(i), n * ours.code_size)
        np.testing.assert_array_equal(ours.invlists.get_codes(i).ravel(), codes)
    selected = [library.IDSelectorRange(100, 400) for library in (metalfaiss, faiss)]
    params: list[dict[str, Any]] = [{}, {"max_codes": 77}, {"nprobe": 11}, {"nprobe": 999, "sel": selected}]
    for given in params:
        settings = []
        for i, library in enumerate((metalfaiss, faiss)):
            sel = {"sel": given["sel"][i]} if "sel" in given else {}
            settings.append(library.SearchParametersIVF(**({"nprobe": 5} | given | sel)))
        distances, ids = theirs.search(XQ, 9, params=settings[1])
        for n in (50, 2, 1):
            for x in (XQ[:n], mx.array(XQ[:n])):
                found = [np.array(a) for a in ours.search(x, 9, params=settings[0])]
                np.testing.assert_allclose(found[0], distances[:n], rtol=1e-4, atol=1e-4)
                alone = apart(distances[:n])
                np.testing.assert_array_equal(found[1][alone], ids[:n][alone])
                assert alone.mean() > 0.7
    radius = float(np.median(distances))
    got, wanted = ours.range_search(XQ, radius), theirs.range_search(XQ, radius)
    assert len(hits(got[0], got[2]) ^ hits(wanted[0], wanted[2])) <= 2
    np.testing.assert_array_equal(ours.sa_encode(X), theirs.sa_encode(X))
    np.testing.assert_allclose(ours.sa_decode(ours.sa_encode(X)), theirs.sa_decode(theirs.sa_encode(X)), atol=1e-5)
    np.testing.assert_allclose(ours.reconstruct_n(5, 9), theirs.reconstruct_n(5, 9), atol=1e-5)
    for a, b in zip(ours.search_and_reconstruct(XQ, 3), theirs.search_and_reconstruct(XQ, 3), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kind", ["Flat", "QT_8bit"])
@pytest.mark.parametrize("metric", METRICS)
def test_exact_where_all_lists_are_searched(kind: str, metric: int, simd_level: str) -> None:
    """Ties and near duplicates included: ids are those of float64, whatever the number of queries."""
    x = np.concatenate([X, X[:300], np.nextafter(X[:200], np.float32(9))]) + np.float32(100 if metric else 0)
    index = make(metalfaiss, kind, metric, x)
    stored = index.reconstruct_n(0, len(x)).astype(np.float64)
    queries = x[:70]
    scores = -(queries @ stored.T) if metric == 0 else ((queries[:, None].astype(np.float64) - stored) ** 2).sum(-1)
    for k in (1, 40, 1500):
        order = np.argsort(scores, axis=1, kind="stable")[:, :k]
        for n in (70, 1):
            _, I = index.search(queries[:n], k, params=metalfaiss.SearchParametersIVF(nprobe=NLIST))
            found = np.take_along_axis(scores[:n], np.maximum(I, 0), 1)
            wanted = np.take_along_axis(scores[:n], order[:n], 1)
            np.testing.assert_allclose(found[:, : len(x)], wanted, rtol=1e-12, atol=1e-9)
            if k == 1500:
                assert (np.sort(I, axis=1)[:, 300:] == np.arange(1200)).all()
                assert (I[:, 1200:] == -1).all()
    for threads in (1, 3):
        before = metalfaiss.num_threads()
        metalfaiss.set_num_threads(threads)
        try:
            np.testing.assert_array_equal(index.search(queries, 40)[1], index.search(mx.array(queries), 40)[1])
        finally:
            metalfaiss.set_num_threads(before)


def test_not_finite_and_empty() -> None:
    for metric in METRICS:
        bad = X.copy()
        bad[3, 2], bad[7, 0], bad[8] = np.nan, np.inf, 1e30
        index = make(metalfaiss, "Flat", metric, None)
        index.add_core(700, bad, None, np.arange(700) % NLIST)
        queries = XQ[:3].copy()
        queries[1, 4] = np.nan
        D, I = index.search(queries, 700, params=metalfaiss.SearchParametersIVF(nprobe=NLIST))
        assert not np.isin([3, 7], I).any()
        assert (I[1] == -1).all()
        assert np.isfinite(D).all()
        assert index.search(XQ[:0], 3)[1].shape == (0, 3)
        empty = make(metalfaiss, "Flat", metric, None)
        assert (empty.search(XQ[:3], 2)[1] == -1).all()
        assert empty.range_search(XQ[:3], 1.0)[0].tolist() == [0, 0, 0, 0]


@pytest.mark.parametrize("alone", [0, 1, 2])
def test_training(alone: int) -> None:
    quantizer = metalfaiss.IndexFlatL2(D)
    if alone == 1:
        quantizer.add(X[:NLIST])
    index = metalfaiss.IndexIVFFlat(quantizer, D, NLIST)
    index.quantizer_trains_alone = alone
    index.cp.min_points_per_centroid = 5
    index.train(X)
    assert index.is_trained
    assert isinstance(index.quantizer.reconstruct_n(0, NLIST), np.ndarray)
    assert index.quantizer.ntotal == NLIST
    index.add(X)
    assert index.search(X[:9], 1)[1][:, 0].tolist() == list(range(9))
    untrained = metalfaiss.IndexIVFFlat(metalfaiss.IndexFlatL2(D), D, NLIST)
    for call in (lambda: untrained.add(X), lambda: untrained.search(X, 1), lambda: untrained.sa_encode(X)):
        with pytest.raises(RuntimeError, match="must be trained"):
            call()
    untrained.quantizer_trains_alone = 7
    with pytest.raises(ValueError, match=r"must be 0, 1 or 2\. Received 7"):
        untrained.train(X)


def test_ids_and_direct_maps() -> None:
    ours, theirs = make(metalfaiss, x=None), make(faiss, x=None)
    for index in (ours, theirs):
        index.add_with_ids(X, np.arange(700) + 1000)
    with pytest.raises(RuntimeError, match="must have a direct map"):
        ours.reconstruct(1000)
    with pytest.raises(ValueError, match="An array needs the ids 0 to 699"):
        ours.make_direct_map()
    for index in (ours, theirs):
        index.set_direct_map_type(2)
        assert index.remove_ids(np.array([1000, 1017, 5])) == 2
        index.add_with_ids(X[:1], np.array([7]))
        index.update_vectors(np.array([1001, 1002, 1003]), X[[300, 301, 302]])
    assert ours.ntotal == theirs.ntotal == 699
    for key in (1001, 1500, 7):
        np.testing.assert_array_equal(ours.reconstruct(key), theirs.reconstruct(key))
    with pytest.raises(RuntimeError, match=r"must be stored\. Received 1000"):
        ours.reconstruct(1000)
    for i in range(NLIST):
        wanted = faiss.rev_swig_ptr(theirs.invlists.get_ids(i), theirs.get_list_size(i))
        assert sorted(ours.invlists.get_ids(i)) == sorted(wanted)
    array = make(metalfaiss)
    array.make_direct_map()
    array.add(X[:3])
    np.testing.assert_array_equal(array.reconstruct_batch([702, 4]), X[[2, 4]])
    assert np.isnan(np.array(array.reconstruct_batch(mx.array([-1, 4]))[0])).all()
    for call in (lambda: array.add_with_ids(X[:1], [9]), lambda: array.remove_ids(np.array([1]))):
        with pytest.raises(RuntimeError, match="must not be an array"):
            call()
    array.make_direct_map(False)
    assert array.remove_ids(metalfaiss.IDSelectorRange(0, 100)) == 100
    assert array.ntotal == 603
    assert array.reconstruct_from_offset(3, 0).shape == (D,)


def test_merge_subset_replace() -> None:
    first, second = make(metalfaiss, x=X[:400]), make(metalfaiss, x=X[400:])
    first.merge_from(second, 400)
    assert (first.ntotal, second.ntotal) == (700, 0)
    np.testing.assert_array_equal(first.search(XQ, 5)[1], make(metalfaiss).search(XQ, 5)[1])
    first.copy_subset_to(second, metalfaiss.InvertedLists.SUBSET_TYPE_ID_RANGE, 0, 50)
    assert second.ntotal == 50
    lists = ivflib.get_invlist_range(first, 2, 6)
    ivflib.set_invlist_range(second, 2, 6, lists)
    np.testing.assert_array_equal(second.invlists.get_ids(4), first.invlists.get_ids(4))
    assert second.ntotal == second.invlists.compute_ntotal()
    second.replace_invlists(copy.copy(first.invlists))
    second.ntotal = 700
    np.testing.assert_array_equal(first.search(XQ, 5)[1], second.search(XQ, 5)[1])
    with pytest.raises(RuntimeError, match="same nlist"):
        first.merge_from(metalfaiss.IndexIVFFlat(metalfaiss.IndexFlatL2(D), D, 3))
    with pytest.raises(ValueError, match="il must have nlist 20"):
        first.replace_invlists(metalfaiss.ArrayInvertedLists(2, 3))
    codes, third = first.sa_encode(X), make(metalfaiss, x=None)
    third.add_sa_codes(codes)
    np.testing.assert_array_equal(third.search(XQ, 5)[1], first.search(XQ, 5)[1])


def test_preassigned_and_codes() -> None:
    ours, theirs = make(metalfaiss), make(faiss)
    Dq, Iq = theirs.quantizer.search(XQ, 5)
    for a, b in zip(ours.search_preassigned(XQ, 4, Iq, Dq), theirs.search_preassigned(XQ, 4, Iq, Dq), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)
    got, wanted = (i.range_search_preassigned(XQ, 9.0, Iq, Dq) for i in (ours, theirs))
    assert hits(got[0], got[2]) == hits(wanted[0], wanted[2])
    for listnos in (False, True):
        found = ours.search_and_return_codes(XQ, 4, include_listnos=listnos)
        for a, b in zip(found[1:], theirs.search_and_return_codes(XQ, 4, include_listnos=listnos)[1:], strict=True):
            np.testing.assert_array_equal(a, b)
    with pytest.raises(ValueError, match=r"Iq must have shape \(50, nprobe\)"):
        ours.search_preassigned(XQ, 4, Iq[:3])


def test_quantizers_of_other_types() -> None:
    ivf = make(metalfaiss, x=X[:40])
    index = metalfaiss.IndexIVFFlat(ivf, D, 40)
    index.add(X)
    index.nprobe = 40
    inner = metalfaiss.SearchParametersIVF(nprobe=NLIST)
    params = metalfaiss.SearchParametersIVF(nprobe=40, quantizer_params=inner)
    _, wanted = metalfaiss.knn(XQ, X, 6)
    np.testing.assert_array_equal(index.search(XQ, 6, params=params)[1], wanted)
    assert (index.search(XQ, 6)[1] == wanted).mean() < 1


def test_ivflib_of_wrapped_indexes() -> None:
    index = make(metalfaiss)
    wrapped = metalfaiss.IndexIDMap(make(metalfaiss, x=None))
    assert metalfaiss.extract_index_ivf(wrapped) is wrapped.index
    assert metalfaiss.try_extract_index_ivf(metalfaiss.IndexFlatL2(3)) is None
    with pytest.raises(RuntimeError, match=r"must be or wrap an IVF index\. Received IndexFlatL2"):
        metalfaiss.extract_index_ivf(metalfaiss.IndexFlatL2(3))
    np.testing.assert_array_equal(ivflib.search_centroid(index, XQ), index.quantizer.assign(XQ, 1)[:, 0])
    _, I, own, lists = ivflib.search_and_get_centroids(index, XQ, 3)
    assert own.shape == (50,)
    np.testing.assert_array_equal(lists, index.quantizer.assign(X, 1)[:, 0][I])
    params = metalfaiss.SearchParametersIVF(nprobe=NLIST)
    _, I = ivflib.search_with_parameters(index, XQ, 3, params)
    np.testing.assert_array_equal(I, metalfaiss.knn(XQ, X, 3)[1])
    assert ivflib.range_search_with_parameters(index, XQ, 3.0, params)[0].shape == (51,)
    other = make(metalfaiss, x=X[:9])
    ivflib.check_compatible_for_merge(index, other)
    ivflib.merge_into(index, other, True)
    assert index.ntotal == 709


@pytest.mark.parametrize("kind", ["Flat", "QT_8bit"])
def test_copies(kind: str) -> None:
    index = make(metalfaiss, kind)
    wanted = index.search(XQ, 5)[1]
    for other in (pickle.loads(pickle.dumps(index)), copy.deepcopy(index)):
        np.testing.assert_array_equal(other.search(XQ, 5)[1], wanted)
        other.add(X[:1])
        other.quantizer.reset()
        assert (other.ntotal, index.ntotal) == (701, 700)
    index.reset()
    assert (index.ntotal, index.invlists.compute_ntotal()) == (0, 0)
    name = "IndexIVFFlat" if kind == "Flat" else "IndexIVFScalarQuantizer"
    assert repr(index) == f"{name}(d=19, nlist=20, nprobe=5, ntotal=0)"


@pytest.mark.parametrize("kind", ["Flat", "QT_8bit"])
def test_transforms(kind: str) -> None:
    index, q = make(metalfaiss, kind), mx.array(XQ[:6])
    wanted = index.search(q, 3)
    compiled = mx.compile(lambda q: index.search(q * 1.0, 3))(q)
    mapped = mx.vmap(lambda q: index.search(q, 3))(q.reshape(2, 3, D))
    for got in (compiled, [a.reshape(6, 3) for a in mapped]):
        assert all(mx.array_equal(a, b) for a, b in zip(got, wanted, strict=True))
    with pytest.raises(ValueError, match=r"\[ivf_search\] Distances found in inverted lists have no derivative"):
        mx.grad(lambda q: index.search(q, 3)[0].sum())(q)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("kind", ["Flat", "QT_6bit", "QT_8bit plain"])
def test_vectors_are_added_alike_in_any_form(kind: str, metric: int) -> None:
    ids, strided = np.arange(700) * 3, np.repeat(X, 2, axis=1)[:, ::2]
    wanted = make(metalfaiss, kind, metric, x=None)
    wanted.add_with_ids(mx.array(X), mx.array(ids))
    for form in (X, strided, X.astype(np.float64)):
        index = make(metalfaiss, kind, metric, x=None)
        index.add(form[:0])
        index.add_with_ids(form[:1], ids[:1])
        index.add_with_ids(form[1:], ids[1:].tolist())
        assert index.ntotal == 700
        for i in range(NLIST):
            assert np.array_equal(index.invlists.get_ids(i), wanted.invlists.get_ids(i))
            assert np.array_equal(index.invlists.get_codes(i), wanted.invlists.get_codes(i))
    index.set_direct_map_type(metalfaiss.DirectMap.Hashtable)
    index.add_with_ids(X[:1], [5])
    index = make(metalfaiss, kind, metric)
    index.make_direct_map()
    with pytest.raises(RuntimeError, match="direct map must not be an array"):
        index.add_with_ids(X[:1], [5])
    with pytest.raises(ValueError, match="x must have shape"):
        index.add_with_ids(X[:1, :3].copy(), [5])


def test_threads_search_while_one_adds() -> None:
    index = make(metalfaiss)
    wrong: list[int] = []

    def search(seed: int) -> None:
        for i in range(60):
            at = (7 * i + seed) % 700
            _, I = index.search(X[at : at + 1], 1)
            if I[0, 0] != at:
                wrong.append(at)

    threads = [threading.Thread(target=search, args=(t,)) for t in range(8)]
    for thread in threads:
        thread.start()
    for _ in range(20):
        index.add(normal(50, seed=1) + 50)
    for thread in threads:
        thread.join()
    assert not wrong
    assert index.ntotal == 1700


@pytest.mark.parametrize(
    ("kind", "message", "call"),
    [
        (TypeError, "quantizer must be an index", lambda i: metalfaiss.IndexIVFFlat(3, D, NLIST)),
        (ValueError, "quantizer must have d 4", lambda i: metalfaiss.IndexIVFFlat(i.quantizer, 4, NLIST)),
        (ValueError, "METRIC_L2 or METRIC_INNER_PRODUCT", lambda i: metalfaiss.IndexIVFFlat(i.quantizer, D, 4, 9)),
        (
            ValueError,
            "nprobe must be at least 1",
            lambda i: i.search(X, 1, params=metalfaiss.SearchParametersIVF(nprobe=0)),
        ),
        (ValueError, r"x must have shape \(n, 19\)", lambda i: i.search(X[:2, :3], 1)),
        (ValueError, "k must be at least 1", lambda i: i.search(X[:2], 0)),
        (ValueError, "list 20", lambda i: i.add_core(1, X[:1], None, np.array([20]))),
        (ValueError, "finite", lambda i: (i.make_direct_map(), i.update_vectors(np.array([1]), X[:1] * np.nan))),
        (IndexError, "at|range", lambda i: i.invlists._native.get_ids(i.nlist)),
        (ValueError, "different ids", lambda i: (i.make_direct_map(), i.update_vectors(np.array([1, 1]), X[:2]))),
        (ValueError, "must name lists from 0 to 19", lambda i: i.add_sa_codes(np.full((1, 77), 200, np.uint8))),
        (ValueError, "offset must be at most", lambda i: i.reconstruct_from_offset(0, 10**6)),
    ],
)
def test_errors(kind: type[Exception], message: str, call: Any) -> None:
    index = make(metalfaiss)
    with pytest.raises(kind, match=message):
        call(index)
    assert index.ntotal == 700


def test_guided_assignment_of_many_vectors() -> None:
    rng = np.random.default_rng(0)
    centers = rng.standard_normal((130, 130), dtype=np.float32)
    x = np.repeat(centers, 20, axis=0) + 0.1 * rng.standard_normal((2600, 130), dtype=np.float32)
    quantizer = metalfaiss.IndexFlatL2(130)
    quantizer.add(centers)
    index = metalfaiss.IndexIVFFlat(quantizer, 130, 130)
    index.add(x)
    assert [index.get_list_size(i) for i in range(130)] == [20] * 130
    assert index.search(x[::50], 1)[1][:, 0].tolist() == list(range(0, 2600, 50))


@pytest.mark.parametrize("factory", ["IVF8,Flat", "IVF8,SQ8"])
def test_vectors_of_numpy_are_read_where_they_lie_and_not_kept(factory: str, rng: np.random.Generator) -> None:
    x = rng.standard_normal((900, 16), dtype=np.float32)
    before = x.copy()
    index = metalfaiss.index_factory(16, factory)
    index.train(x)
    index.add(x)
    index.add_with_ids(x[100:200], np.arange(5000, 5100))
    assert np.array_equal(x, before)
    D, I = index.search(before[:50], 5)
    x[:] = 0
    again = index.search(before[:50], 5)
    assert np.array_equal(D, again[0])
    assert np.array_equal(I, again[1])


def test_searches_at_once_see_every_change() -> None:
    """A search of NumPy queries, which prepares what it can, after whatever is replaced: that of a graph."""
    rng = np.random.default_rng(0)
    xb, xq = rng.standard_normal((500, 8), dtype=np.float32), rng.standard_normal((3, 8), dtype=np.float32)
    index = metalfaiss.index_factory(8, "IVF16,SQ8")
    index.train(xb)
    index.add(xb)

    def check(queries: Any = xq) -> None:
        D, I = index.search(queries, 4)
        other_d, other_i = index.search(mx.array(xq), 4)
        np.testing.assert_array_equal(I, np.array(other_i))
        np.testing.assert_array_equal(D, np.array(other_d))

    check()
    index.nprobe = 5
    check()
    check(xq.astype(np.float64))
    check(np.asfortranarray(xq))
    index.add(xb[:50] + 1)
    check()
    index.by_residual = False
    check()
    index.by_residual = True
    lists = metalfaiss.ArrayInvertedLists(16, 8)
    lists.add_entries(3, np.arange(2), np.full((2, 8), 7, np.uint8))
    index.replace_invlists(lists, True)
    check()
    index.quantizer.reset()
    index.quantizer.add(xb[:16])
    check()
    index.quantizer = metalfaiss.IndexFlatL2(8)
    index.quantizer.add(xb[16:32])
    check()
    index = copy.deepcopy(index)
    check()
    D, I = np.empty((3, 4), np.float32), np.empty((3, 4), np.int64)
    assert index.search(xq, 4, D=D, I=I)[0] is D
    np.testing.assert_array_equal(I, index.search(xq, 4)[1])
    for wrong in (0, "4", True):
        with pytest.raises((TypeError, ValueError), match="k must be"):
            index.search(xq, wrong)
    with pytest.raises(ValueError, match="x must have shape"):
        index.search(xq[:, 1:], 4)

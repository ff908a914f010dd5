"""FAISS's functions on vectors that are named by ids, on codes, and its heaps and generators: as FAISS."""

from __future__ import annotations

from typing import Any

import faiss
import numpy as np
import pytest
from oracles.both import BOTH, CODES, X, Y, same
from test_pointers import pointed, searched, written

import metalfaiss

IDS = np.random.default_rng(3).integers(0, 40, (9, 7))
GAPS = np.where(np.random.default_rng(4).random((9, 7)) < 0.2, -1, IDS)  # -1: none
FIRST, SECOND = np.arange(9), IDS[:, 0].copy()
SOME = np.where(GAPS[:, 1] < 0, -1, FIRST)
MORE = np.random.default_rng(5).standard_normal((3, 9, 4)).astype(np.float32).argsort(-1).astype(np.float32)
MORE = np.sort(MORE * 3 + np.arange(3)[:, None, None], axis=-1).astype(np.float32)
LABELS = np.arange(108).reshape(3, 9, 4)


def heap(f: Any, name: str, k: int, add: Any) -> Any:
    """What a heap array of 9 queries holds at the end."""
    made = getattr(f, name)()
    values = np.zeros((9, k), np.int32 if name.startswith("int") else np.float32)
    ids = np.zeros((9, k), np.int64)
    made.nh, made.k, made.val, made.ids = 9, k, f.swig_ptr(values), f.swig_ptr(ids)
    made.heapify()
    if add(made) is not False:
        made.reorder()
    return values, ids


def batch_4(f: Any, call: Any) -> Any:
    outs = [np.zeros(1, np.float32) for _ in range(4)]
    rows = [Y[i].copy() for i in range(4)]
    call(f.swig_ptr(X), *pointed(f, *rows), 6, *pointed(f, *outs))
    return np.concatenate(outs)


def several(f: Any, *outs: tuple[Any, Any], call: Any) -> Any:
    arrays = [np.zeros(shape, dtype) for shape, dtype in outs]
    returned = call(*pointed(f, *arrays))
    return (*arrays, returned)


def nearest_of_ids(f: Any, call: Any, k: int = 3, ids: Any = IDS) -> Any:
    return searched(f, lambda D, I: call(*pointed(f, X, Y, ids), 6, 9, 40, 7, k, D, I, 7), k)


CALLS = {
    "fvec_L2sqr_by_idx": lambda f: written(
        f, (9, 7), "f", lambda o: f.fvec_L2sqr_by_idx(o, *pointed(f, X, Y, GAPS), 6, 9, 7)
    ),
    "fvec_inner_products_by_idx": lambda f: written(
        f, (9, 7), "f", lambda o: f.fvec_inner_products_by_idx(o, *pointed(f, X, Y, GAPS), 6, 9, 7)
    ),
    "pairwise_indexed_L2sqr": lambda f: written(
        f, 9, "f", lambda o: f.pairwise_indexed_L2sqr(6, 9, *pointed(f, X, SOME, Y, SECOND), o)
    ),
    "pairwise_indexed_inner_product": lambda f: written(
        f, 9, "f", lambda o: f.pairwise_indexed_inner_product(6, 9, *pointed(f, X, FIRST, Y, GAPS[:, 0].copy()), o)
    ),
    "knn_L2sqr_by_idx": lambda f: nearest_of_ids(f, f.knn_L2sqr_by_idx),
    "knn_inner_products_by_idx": lambda f: nearest_of_ids(f, f.knn_inner_products_by_idx, ids=GAPS[::-1].copy()),
    "knn_L2sqr_by_idx, one list": lambda f: searched(
        f, lambda D, I: f.knn_L2sqr_by_idx(*pointed(f, X, Y, IDS), 6, 9, 40, 7, 5, D, I, 0), 5
    )[0],
    "fvec_L2sqr_batch_4": lambda f: batch_4(f, f.fvec_L2sqr_batch_4),
    "fvec_inner_product_batch_4": lambda f: batch_4(f, f.fvec_inner_product_batch_4),
    "fvec_L2sqr_ny_nearest": lambda f: several(
        f, (40, "f"), call=lambda o: f.fvec_L2sqr_ny_nearest(o, *pointed(f, X, Y), 6, 40)
    ),
    "fvec_madd_and_argmin": lambda f: several(
        f, (54, "f"), call=lambda o: f.fvec_madd_and_argmin(54, f.swig_ptr(X), 0.5, f.swig_ptr(Y), o)
    ),
    "hammings_knn_hc": lambda f: heap(
        f, "int_maxheap_array_t", 4, lambda h: f.hammings_knn_hc(h, *pointed(f, CODES[:9], CODES[9:]), 21, 8, 0)
    )[0],
    "hammings_knn": lambda f: heap(
        f, "int_maxheap_array_t", 4, lambda h: f.hammings_knn(h, *pointed(f, CODES[:9], CODES[9:]), 21, 8, 0)
    )[0],
    "hamming_count_thres": lambda f: written(
        f, 1, "uint64", lambda o: f.hamming_count_thres(*pointed(f, CODES[:9], CODES[9:]), 9, 21, 28, 8, o)
    ),
    "crosshamming_count_thres": lambda f: written(
        f, 1, "uint64", lambda o: f.crosshamming_count_thres(f.swig_ptr(CODES), 30, 28, 8, o)
    ),
    "match_hamming_thres": lambda f: several(
        f, ((200, 2), "int64"), (200, "int32"),
        call=lambda i, d: f.match_hamming_thres(*pointed(f, CODES[:9], CODES[9:]), 9, 21, 28, 8, i, d),
    ),
    "merge_knn_results_CMin": lambda f: searched(
        f, lambda D, I: f.merge_knn_results_CMin(9, 4, 3, *pointed(f, MORE, LABELS), D, I), 4
    )[0],
    "merge_knn_results_CMax": lambda f: searched(
        f, lambda D, I: f.merge_knn_results_CMax(9, 4, 3, *pointed(f, -MORE, LABELS), D, I), 4
    )[0],
}  # fmt: skip


@pytest.mark.parametrize("name", CALLS)
def test_functions_on_pointers(name: str) -> None:
    same(CALLS[name](metalfaiss), CALLS[name](faiss))


def test_inner_products_become_distances() -> None:
    norms = [(a**2).sum(1) for a in (X, Y)]
    for f in (faiss, metalfaiss):
        table = X @ Y.T
        f.inner_product_to_L2sqr(f.swig_ptr(table), *pointed(f, *norms), 9, 40)
        np.testing.assert_allclose(table, ((X[:, None] - Y) ** 2).sum(-1), rtol=1e-4)


# --------------------------------------------------------------------------------------------- heaps

VALUES = np.random.default_rng(6).permutation(9 * 20).reshape(9, 20)
SUBSET = np.array([7, 2, 3])
ADDS = {
    "addn": lambda f, h, v: (h.addn(20, f.swig_ptr(v), 100), h.addn(20, f.swig_ptr(v), 500, 4, 3)),
    "addn_with_ids": lambda f, h, v: (
        h.addn_with_ids(20, f.swig_ptr(v), f.swig_ptr(np.arange(180) + 7), 20),
        h.addn_with_ids(3, f.swig_ptr(v), f.swig_ptr(np.arange(3) - 9)),
        h.addn_with_ids(3, f.swig_ptr(v)),
    ),
    "addn_query_subset_with_ids": lambda f, h, v: h.addn_query_subset_with_ids(
        3, f.swig_ptr(SUBSET), 20, f.swig_ptr(v), f.swig_ptr(np.arange(60)), 20
    ),
}


@pytest.mark.parametrize("name", ["float_maxheap_array_t", "float_minheap_array_t", "int_maxheap_array_t"])
@pytest.mark.parametrize("add", ADDS)
def test_heaps(name: str, add: str) -> None:
    values = VALUES.astype(np.int32 if name.startswith("int") else np.float32)
    ours, theirs = (heap(f, name, 5, lambda h, f=f: ADDS[add](f, h, values)) for f in (metalfaiss, faiss))
    assert np.array_equal(ours[0], theirs[0])
    if add != "addn_with_ids":  # equal values under several ids
        rows = SUBSET if "subset" in add else np.delete(np.arange(9), [4, 5, 6])
        assert np.array_equal(ours[1][rows], theirs[1][rows])


@BOTH
def test_parts_of_a_heap(lib: Any) -> None:
    out, at = np.zeros(9, np.float32), np.zeros(9, np.int64)
    made = lib.float_minheap_array_t()
    values, ids = np.zeros((9, 5), np.float32), np.zeros((9, 5), np.int64)
    made.nh, made.k, made.val, made.ids = 9, 5, lib.swig_ptr(values), lib.swig_ptr(ids)
    made.heapify()
    made.addn(20, lib.swig_ptr(VALUES.astype(np.float32)))
    made.per_line_extrema(lib.swig_ptr(out), lib.swig_ptr(at))
    wanted = np.sort(VALUES, axis=1)[:, -5:]
    assert np.array_equal(np.sort(lib.rev_swig_ptr(made.get_val(3), 5)), wanted[3])
    assert set(lib.rev_swig_ptr(made.get_ids(3), 5).tolist()) == set(np.argsort(-VALUES[3])[:5].tolist())
    assert out.max() <= VALUES.max()


@pytest.mark.parametrize(
    ("error", "what"),
    [
        (TypeError, {"val": np.zeros((9, 5))}),
        (TypeError, {"ids": [1]}),
        (ValueError, {"val": np.zeros(7, np.float32)}),
    ],
)
def test_arrays_of_heaps_are_checked(error: type[Exception], what: dict[str, Any]) -> None:
    made = metalfaiss.float_maxheap_array_t()
    made.nh, made.k = 9, 5
    made.val, made.ids = np.zeros((9, 5), np.float32), np.zeros((9, 5), np.int64)
    made.heapify()
    with pytest.raises(ValueError, match=r"vin must have 180 elements\. Received 3"):
        made.addn(20, np.zeros(3))
    with pytest.raises(ValueError, match="id_in must have 180 elements"):
        made.addn_with_ids(20, VALUES, np.arange(20), 20)
    vars(made).update(what)
    with pytest.raises(error, match=r"^\[float_maxheap_array_t\.heapify\]"):
        made.heapify()


# ---------------------------------------------------------------------------------------- generators


@pytest.mark.parametrize("name", ["RandomGenerator", "SplitMix64RandomGenerator"])
@pytest.mark.parametrize("seed", [1234, 7])
def test_generators(name: str, seed: int) -> None:
    ours, theirs = (getattr(f, name)(seed) for f in (metalfaiss, faiss))
    for _ in range(50):
        assert ours.rand_int() == theirs.rand_int()
        assert ours.rand_int(17) == theirs.rand_int(17)
        assert ours.rand_int64() == theirs.rand_int64()
        assert ours.rand_float() == theirs.rand_float()
        assert ours.rand_double() == theirs.rand_double()
    with pytest.raises(TypeError, match=r"seed must be an int"):
        getattr(metalfaiss, name)("x")

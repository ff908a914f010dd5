"""FAISS's functions on raw memory, and the C++ forms of an index's calls: as FAISS, through swig_ptr."""

from __future__ import annotations

from typing import Any

import faiss
import numpy as np
import pytest
from oracles.both import CODES, X, Y, same

import metalfaiss


def written(f: Any, shape: Any, dtype: Any, call: Any) -> Any:
    out = np.zeros(shape, dtype=dtype)
    call(f.swig_ptr(out))
    return out


def searched(f: Any, call: Any, k: int = 3, dtype: Any = np.float32) -> tuple[Any, Any]:
    D, I = np.zeros((9, k), dtype), np.zeros((9, k), np.int64)
    call(f.swig_ptr(D), f.swig_ptr(I))
    return D, I


def ranged(f: Any, n: int, call: Any) -> tuple[Any, Any, Any]:
    result = f.RangeSearchResult(n)
    call(result)
    if f is faiss:
        lims = f.rev_swig_ptr(result.lims, n + 1).copy()
        D, I = (f.rev_swig_ptr(a, int(lims[-1])).copy() for a in (result.distances, result.labels))
    else:
        lims, D, I = result.lims, result.distances, result.labels
    for a, b in zip(lims[:-1].astype(int), lims[1:].astype(int), strict=True):
        order = np.argsort(I[a:b])
        D[a:b], I[a:b] = D[a:b][order], I[a:b][order]
    return lims, D, I


def pointed(f: Any, *arrays: Any) -> list[Any]:
    return [f.swig_ptr(a) for a in arrays]


POINTERS = {
    "fvec_L2sqr": lambda f: f.fvec_L2sqr(*pointed(f, X, Y), 6),
    "fvec_inner_product": lambda f: f.fvec_inner_product(*pointed(f, X, Y), 6),
    "fvec_L1": lambda f: f.fvec_L1(*pointed(f, X, Y), 6),
    "fvec_Linf": lambda f: f.fvec_Linf(*pointed(f, X, Y), 6),
    "fvec_norm_L2sqr": lambda f: f.fvec_norm_L2sqr(f.swig_ptr(X), 6),
    "fvec_norms_L2": lambda f: written(f, 9, "f", lambda o: f.fvec_norms_L2(o, f.swig_ptr(X), 6, 9)),
    "fvec_norms_L2sqr": lambda f: written(f, 9, "f", lambda o: f.fvec_norms_L2sqr(o, f.swig_ptr(X), 6, 9)),
    "fvec_L2sqr_ny": lambda f: written(f, 40, "f", lambda o: f.fvec_L2sqr_ny(o, *pointed(f, X, Y), 6, 40)),
    "fvec_inner_products_ny": lambda f: written(
        f, 40, "f", lambda o: f.fvec_inner_products_ny(o, *pointed(f, X, Y), 6, 40)
    ),
    "fvec_add": lambda f: written(f, 6, "f", lambda o: f.fvec_add(6, *pointed(f, X, Y), o)),
    "fvec_sub": lambda f: written(f, 6, "f", lambda o: f.fvec_sub(6, *pointed(f, X, Y), o)),
    "fvec_madd": lambda f: written(f, 6, "f", lambda o: f.fvec_madd(6, f.swig_ptr(X), 1.5, f.swig_ptr(Y), o)),
    "fvec_argsort": lambda f: written(f, 54, "uint64", lambda o: f.fvec_argsort(54, f.swig_ptr(X), o)),
    "memcpy": lambda f: written(f, 6, "f", lambda o: f.memcpy(o, f.swig_ptr(X), 20)),
    "knn_L2sqr": lambda f: searched(f, lambda D, I: f.knn_L2sqr(*pointed(f, X, Y), 6, 9, 40, 3, D, I)),
    "knn_inner_product": lambda f: searched(f, lambda D, I: f.knn_inner_product(*pointed(f, X, Y), 6, 9, 40, 3, D, I)),
    "knn_extra_metrics": lambda f: searched(
        f,
        lambda D, I: f.knn_extra_metrics(
            *pointed(f, X, Y), 6, 9, 40, f.METRIC_Lp, 3, 3, D, I, f.IDSelectorRange(3, 20)
        ),
    ),
    "hammings": lambda f: written(f, 108, "i4", lambda o: f.hammings(*pointed(f, CODES[:9], CODES[9:]), 9, 12, 8, o)),
    "hammings_knn_mc": lambda f: searched(
        f, lambda D, I: f.hammings_knn_mc(*pointed(f, CODES[:9], CODES[9:]), 9, 21, 1, 8, D, I), 1, np.int32
    )[0],
    "pairwise_L2sqr": lambda f: written(
        f, (9, 40), "f", lambda o: f.pairwise_L2sqr(6, 9, f.swig_ptr(X), 40, f.swig_ptr(Y), o)
    ),
    "pairwise_extra_distances": lambda f: written(
        f, (3, 9), "f",
        lambda o: f.pairwise_extra_distances(4, 3, f.swig_ptr(X), 5, f.swig_ptr(Y), f.METRIC_L1, 0, o, 6, 6, 9),
    ),
    "range_search_L2sqr": lambda f: ranged(f, 9, lambda r: f.range_search_L2sqr(*pointed(f, X, Y), 6, 9, 40, 8.0, r)),
    "range_search_inner_product": lambda f: ranged(
        f, 9, lambda r: f.range_search_inner_product(*pointed(f, X, Y), 6, 9, 40, 1.0, r)
    ),
    "hamming_range_search": lambda f: ranged(
        f, 9, lambda r: f.hamming_range_search(*pointed(f, CODES[:9], CODES[9:]), 9, 21, 30, 8, r)
    ),
    "float_rand": lambda f: written(f, 2000, "f", lambda o: f.float_rand(o, 2000, 5)),
    "float_randn": lambda f: written(f, 100, "f", lambda o: f.float_randn(o, 100, 5)),
    "int64_rand": lambda f: written(f, 100, "int64", lambda o: f.int64_rand(o, 100, 5)),
    "rand_perm": lambda f: written(f, 50, "int32", lambda o: f.rand_perm(o, 50, 5)),
}  # fmt: skip


@pytest.mark.parametrize("name", POINTERS)
def test_functions_on_pointers(name: str) -> None:
    same(POINTERS[name](metalfaiss), POINTERS[name](faiss))


def test_vectors_are_scaled_in_place() -> None:
    ours, theirs = Y.copy(), Y.copy()
    ours[3] = theirs[3] = 0
    metalfaiss.fvec_renorm_L2(6, 40, metalfaiss.swig_ptr(ours))
    faiss.fvec_renorm_L2(6, 40, faiss.swig_ptr(theirs))
    same(ours, theirs)


def c_calls(f: Any, kind: str) -> list[Any]:
    index = f.index_factory(6, kind)
    if kind.startswith("IDMap"):
        index.add_with_ids_c(40, f.swig_ptr(Y), f.swig_ptr(np.arange(100, 140)))
    else:
        index.train_c(40, f.swig_ptr(Y))
        index.add_c(40, f.swig_ptr(Y))
    out = [searched(f, lambda D, I: index.search_c(9, f.swig_ptr(X), 3, D, I))]
    out.append(written(f, (9, 2), "int64", lambda o: index.assign_c(9, f.swig_ptr(X), o, 2)))
    out.append(ranged(f, 9, lambda r: index.range_search_c(9, f.swig_ptr(X), 8.0, r)))
    if kind == "Flat":
        out.append(written(f, 6, "f", lambda o: index.reconstruct_c(3, o)))
        out.append(written(f, (4, 6), "f", lambda o: index.reconstruct_n_c(3, 4, o)))
    out += [index.remove_ids_c(f.IDSelectorRange(2, 104)), index.ntotal]
    return out


@pytest.mark.parametrize("kind", ["Flat", "SQ8", "IDMap,Flat"])
def test_calls_of_an_index_with_pointers(kind: str) -> None:
    for ours, theirs in zip(c_calls(metalfaiss, kind), c_calls(faiss, kind), strict=True):
        same(ours, theirs)

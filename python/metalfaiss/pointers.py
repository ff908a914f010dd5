"""FAISS's C++ functions on raw memory: what it calls a pointer is an array here, which ``swig_ptr`` returns as it is.

Numbers of rows and columns come as arguments, as in FAISS; arrays may have any shape with at least as many elements.
What is written goes to contiguous arrays of the right dtype.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from metalfaiss._raw import read, write
from metalfaiss.errors import ArgumentError
from metalfaiss.hamming import knn_hamming
from metalfaiss.indexes.binary_flat import IndexBinaryFlat
from metalfaiss.indexes.flat import IndexFlat
from metalfaiss.metrics import METRIC_INNER_PRODUCT, METRIC_L2
from metalfaiss.pairwise import pairwise_distances
from metalfaiss.random import permutation, rand, randint, randn
from metalfaiss.results import RangeSearchResult
from metalfaiss.search_parameters import SearchParameters
from metalfaiss.selectors import IDSelector

__all__ = [
    "float_rand",
    "float_randn",
    "fvec_L1",
    "fvec_L2sqr",
    "fvec_L2sqr_ny",
    "fvec_Linf",
    "fvec_add",
    "fvec_argsort",
    "fvec_inner_product",
    "fvec_inner_products_ny",
    "fvec_madd",
    "fvec_norm_L2sqr",
    "fvec_norms_L2",
    "fvec_norms_L2sqr",
    "fvec_renorm_L2",
    "fvec_sub",
    "hamming_range_search",
    "hammings_knn_mc",
    "int64_rand",
    "knn_L2sqr",
    "knn_extra_metrics",
    "knn_inner_product",
    "memcpy",
    "pairwise_L2sqr",
    "pairwise_extra_distances",
    "rand_perm",
    "range_search_L2sqr",
    "range_search_inner_product",
]

Floats = NDArray[np.float32]


# ------------------------------------------------------------------------------------------- vectors


def _pair(op: str, x: Any, y: Any, d: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    return read(op, "x", x, (d,)).astype(np.float64), read(op, "y", y, (d,)).astype(np.float64)


def fvec_L2sqr(x: Any, y: Any, d: int) -> float:
    """The squared L2 distance of two vectors of d numbers."""
    a, b = _pair("fvec_L2sqr", x, y, d)
    return float(((a - b) ** 2).sum())


def fvec_inner_product(x: Any, y: Any, d: int) -> float:
    """The inner product of two vectors of d numbers."""
    a, b = _pair("fvec_inner_product", x, y, d)
    return float(a @ b)


def fvec_L1(x: Any, y: Any, d: int) -> float:
    """The L1 distance of two vectors of d numbers."""
    a, b = _pair("fvec_L1", x, y, d)
    return float(np.abs(a - b).sum())


def fvec_Linf(x: Any, y: Any, d: int) -> float:
    """The largest difference of two vectors of d numbers."""
    a, b = _pair("fvec_Linf", x, y, d)
    return float(np.abs(a - b).max(initial=0.0))


def fvec_norm_L2sqr(x: Any, d: int) -> float:
    """The squared L2 norm of a vector of d numbers."""
    return fvec_inner_product(x, x, d)


def _squared_norms(op: str, x: Any, d: int, nx: int) -> NDArray[np.float64]:
    rows = read(op, "x", x, (nx, d))
    return np.asarray(np.einsum("ij,ij->i", rows, rows, dtype=np.float64))


def fvec_norms_L2sqr(norms: Floats, x: Any, d: int, nx: int) -> None:
    """Writes the squared L2 norms of nx vectors to ``norms``."""
    op = "fvec_norms_L2sqr"
    write(op, "norms", norms, _squared_norms(op, x, d, nx).astype(np.float32))


def fvec_norms_L2(norms: Floats, x: Any, d: int, nx: int) -> None:
    """Writes the L2 norms of nx vectors to ``norms``."""
    op = "fvec_norms_L2"
    write(op, "norms", norms, np.sqrt(_squared_norms(op, x, d, nx)).astype(np.float32))


def fvec_renorm_L2(d: int, nx: int, x: Floats) -> None:
    """Scales nx vectors to length 1, in place; those of length 0 stay as they are."""
    op = "fvec_renorm_L2"
    norms = np.sqrt(_squared_norms(op, x, d, nx))[:, None]
    write(op, "x", x, (read(op, "x", x, (nx, d)) / np.where(norms > 0, norms, 1.0)).astype(np.float32))


def fvec_L2sqr_ny(dis: Floats, x: Any, y: Any, d: int, ny: int) -> None:
    """Writes the squared L2 distances of a vector to ny others."""
    op = "fvec_L2sqr_ny"
    found = pairwise_distances(read(op, "x", x, (1, d)), read(op, "y", y, (ny, d)))
    write(op, "dis", dis, found)


def fvec_inner_products_ny(ip: Floats, x: Any, y: Any, d: int, ny: int) -> None:
    """Writes the inner products of a vector with ny others."""
    op = "fvec_inner_products_ny"
    found = pairwise_distances(read(op, "x", x, (1, d)), read(op, "y", y, (ny, d)), METRIC_INNER_PRODUCT)
    write(op, "ip", ip, found)


def fvec_add(d: int, a: Any, b: Any, c: Floats) -> None:
    """Writes ``a + b`` of d numbers to ``c``; ``b`` may be a number."""
    other = np.float32(b) if isinstance(b, float | int) else read("fvec_add", "b", b, (d,))
    write("fvec_add", "c", c, read("fvec_add", "a", a, (d,)) + other)


def fvec_sub(d: int, a: Any, b: Any, c: Floats) -> None:
    """Writes ``a - b`` of d numbers to ``c``."""
    write("fvec_sub", "c", c, read("fvec_sub", "a", a, (d,)) - read("fvec_sub", "b", b, (d,)))


def fvec_madd(n: int, a: Any, bf: float, b: Any, c: Floats) -> None:
    """Writes ``a + bf * b`` of n numbers to ``c``."""
    write("fvec_madd", "c", c, read("fvec_madd", "a", a, (n,)) + np.float32(bf) * read("fvec_madd", "b", b, (n,)))


def fvec_argsort(n: int, vals: Any, perm: NDArray[Any]) -> None:
    """Writes the order of n numbers, ascending, to ``perm``, uint64 or int64."""
    order = np.argsort(read("fvec_argsort", "vals", vals, (n,)), kind="stable")
    write("fvec_argsort", "perm", perm, order.astype(perm.dtype))


def memcpy(dest: NDArray[Any], src: NDArray[Any], n: int) -> None:
    """Copies n bytes from one contiguous array to another."""
    for name, array in (("dest", dest), ("src", src)):
        if not array.flags.c_contiguous or array.nbytes < n:
            raise ArgumentError(f"[memcpy] {name} must be contiguous, with {n} bytes. Received {array.nbytes}.")
    dest.reshape(-1).view(np.uint8)[:n] = src.reshape(-1).view(np.uint8)[:n]


# ------------------------------------------------------------------------------------ exhaustive search


def _knn(
    op: str, x: Any, y: Any, shape: tuple[int, int, int], k: int, metric: tuple[int, float], sel: IDSelector | None
) -> tuple[Floats, NDArray[np.int64]]:
    d, nx, ny = shape
    index = IndexFlat(d, metric[0])
    index.metric_arg = metric[1]
    index.add(read(op, "y", y, (ny, d)))
    return index.search(read(op, "x", x, (nx, d)), k, params=None if sel is None else SearchParameters(sel=sel))


def knn_L2sqr(
    x: Any,
    y: Any,
    d: int,
    nx: int,
    ny: int,
    k: int,
    vals: Floats,
    ids: NDArray[np.int64],
    y_norm2: Any = None,
    sel: IDSelector | None = None,
) -> None:
    """Writes the k nearest of ny vectors, of those that ``sel`` selects, for each of nx: distances and ids (nx, k)."""
    D, I = _knn("knn_L2sqr", x, y, (d, nx, ny), k, (METRIC_L2, 0.0), sel)
    write("knn_L2sqr", "vals", vals, D)
    write("knn_L2sqr", "ids", ids, I)


def knn_inner_product(
    x: Any,
    y: Any,
    d: int,
    nx: int,
    ny: int,
    k: int,
    vals: Floats,
    ids: NDArray[np.int64],
    sel: IDSelector | None = None,
) -> None:
    """``knn_L2sqr`` by inner product, the largest first."""
    D, I = _knn("knn_inner_product", x, y, (d, nx, ny), k, (METRIC_INNER_PRODUCT, 0.0), sel)
    write("knn_inner_product", "vals", vals, D)
    write("knn_inner_product", "ids", ids, I)


def knn_extra_metrics(
    x: Any,
    y: Any,
    d: int,
    nx: int,
    ny: int,
    mt: int,
    metric_arg: float,
    k: int,
    distances: Floats,
    indexes: NDArray[np.int64],
    sel: IDSelector | None = None,
) -> None:
    """``knn_L2sqr`` by another of FAISS's metrics."""
    D, I = _knn("knn_extra_metrics", x, y, (d, nx, ny), k, (mt, metric_arg), sel)
    write("knn_extra_metrics", "distances", distances, D)
    write("knn_extra_metrics", "indexes", indexes, I)


def _range(
    op: str,
    x: Any,
    y: Any,
    shape: tuple[int, int, int],
    radius: float,
    metric: int,
    result: RangeSearchResult,
    sel: IDSelector | None,
) -> None:
    d, nx, ny = shape
    index = IndexFlat(d, metric)
    index.add(read(op, "y", y, (ny, d)))
    params = None if sel is None else SearchParameters(sel=sel)
    result._take(*index.range_search(read(op, "x", x, (nx, d)), radius, params=params))


def range_search_L2sqr(
    x: Any, y: Any, d: int, nx: int, ny: int, radius: float, result: RangeSearchResult, sel: IDSelector | None = None
) -> None:
    """Writes those of ny vectors whose squared L2 distance to each of nx is below ``radius`` to ``result``."""
    _range("range_search_L2sqr", x, y, (d, nx, ny), radius, METRIC_L2, result, sel)


def range_search_inner_product(
    x: Any, y: Any, d: int, nx: int, ny: int, radius: float, result: RangeSearchResult, sel: IDSelector | None = None
) -> None:
    """Writes those of ny vectors whose inner product with each of nx is above ``radius`` to ``result``."""
    _range("range_search_inner_product", x, y, (d, nx, ny), radius, METRIC_INNER_PRODUCT, result, sel)


def _all_distances(
    op: str,
    d: int,
    counts: tuple[int, int],
    xq: Any,
    xb: Any,
    metric: tuple[int, float],
    dis: Any,
    strides: tuple[int, int, int],
) -> None:
    """With the distance between rows of xq, xb and dis in elements, -1 for rows without gaps."""
    (nq, nb), (ldq, ldb, ldd) = counts, (s if s > 0 else w for s, w in zip(strides, (d, d, counts[1]), strict=True))
    q, b = (
        read(op, name, x, ((n - 1) * ld + d,)) if n else np.empty(0, np.float32)
        for name, x, n, ld in (("xq", xq, nq, ldq), ("xb", xb, nb, ldb))
    )
    rows = [
        np.lib.stride_tricks.as_strided(x, (n, d), (4 * ld, 4)) if n else np.empty((0, d), np.float32)
        for x, n, ld in ((q, nq, ldq), (b, nb, ldb))
    ]
    found = pairwise_distances(rows[0], rows[1], *metric)
    if nq and nb:
        out = read(op, "dis", dis, ((nq - 1) * ldd + nb,)).copy()
        np.lib.stride_tricks.as_strided(out, (nq, nb), (4 * ldd, 4))[:] = found
        write(op, "dis", dis, out)


def pairwise_L2sqr(
    d: int, nq: int, xq: Any, nb: int, xb: Any, dis: Floats, ldq: int = -1, ldb: int = -1, ldd: int = -1
) -> None:
    """Writes all squared L2 distances (nq, nb); ``ld*`` are the elements from one row to the next, -1 for no gaps."""
    _all_distances("pairwise_L2sqr", d, (nq, nb), xq, xb, (METRIC_L2, 0.0), dis, (ldq, ldb, ldd))


def pairwise_extra_distances(
    d: int,
    nq: int,
    xq: Any,
    nb: int,
    xb: Any,
    mt: int,
    metric_arg: float,
    dis: Floats,
    ldq: int = -1,
    ldb: int = -1,
    ldd: int = -1,
) -> None:
    """``pairwise_L2sqr`` by another of FAISS's metrics."""
    _all_distances("pairwise_extra_distances", d, (nq, nb), xq, xb, (mt, metric_arg), dis, (ldq, ldb, ldd))


# ----------------------------------------------------------------------------------------- binary codes


def hammings_knn_mc(
    a: Any, b: Any, na: int, nb: int, k: int, ncodes: int, distances: NDArray[np.int32], labels: NDArray[np.int64]
) -> None:
    """Writes the k nearest of nb codes of ``ncodes`` bytes for each of na: distances and ids (na, k)."""
    op = "hammings_knn_mc"
    D, I = knn_hamming(read(op, "a", a, (na, ncodes), np.uint8), read(op, "b", b, (nb, ncodes), np.uint8), k)
    write(op, "distances", distances, D)
    write(op, "labels", labels, I)


def hamming_range_search(a: Any, b: Any, na: int, nb: int, radius: int, ncodes: int, result: RangeSearchResult) -> None:
    """Writes those of nb codes that are less than ``radius`` bits from each of na to ``result``."""
    op = "hamming_range_search"
    index = IndexBinaryFlat(8 * ncodes)
    index.add(read(op, "b", b, (nb, ncodes), np.uint8))
    lims, D, I = index.range_search(read(op, "a", a, (na, ncodes), np.uint8), radius)
    result._take(lims, D.astype(np.float32), I)


# --------------------------------------------------------------------------------------- random numbers


def _fill(op: str, make: Callable[[int, int], NDArray[Any]]) -> Callable[[NDArray[Any], int, int], None]:
    def fill(x: NDArray[Any], n: int, seed: int) -> None:
        write(op, "x", x, make(n, seed))

    fill.__name__ = fill.__qualname__ = op
    fill.__doc__ = f"Writes n numbers of ``{make.__name__}`` to ``x``."
    return fill


float_rand = _fill("float_rand", rand)
float_randn = _fill("float_randn", randn)
int64_rand = _fill("int64_rand", randint)


def rand_perm(perm: NDArray[np.int32], n: int, seed: int) -> None:
    """Writes FAISS's random permutation of 0 to n - 1, int32."""
    write("rand_perm", "perm", perm, permutation(n, n, seed).astype(np.int32))

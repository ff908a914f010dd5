"""FAISS's C++ functions on raw memory, second part: vectors and codes that are named by ids. See ``pointers``."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from metalfaiss._raw import read, write
from metalfaiss.hamming import hammings, knn_hamming
from metalfaiss.heaps import float_maxheap_array_t, float_minheap_array_t, int_maxheap_array_t
from metalfaiss.pointers import fvec_inner_product, fvec_L2sqr
from metalfaiss.results import merge_knn_results

__all__ = [
    "crosshamming_count_thres",
    "fvec_L2sqr_batch_4",
    "fvec_L2sqr_by_idx",
    "fvec_L2sqr_ny_nearest",
    "fvec_inner_product_batch_4",
    "fvec_inner_products_by_idx",
    "fvec_madd_and_argmin",
    "hamming_count_thres",
    "hammings_knn",
    "hammings_knn_hc",
    "inner_product_to_L2sqr",
    "knn_L2sqr_by_idx",
    "knn_inner_products_by_idx",
    "match_hamming_thres",
    "merge_knn_results_CMax",
    "merge_knn_results_CMin",
    "pairwise_indexed_L2sqr",
    "pairwise_indexed_inner_product",
]

Floats = NDArray[np.float32]
_ROWS = 1 << 22  # float64 numbers gathered at once


def _named(op: str, y: Any, d: int, ids: NDArray[np.int64]) -> NDArray[np.float64]:
    """Vectors of ids, (..., d); those of negative ids are the first."""
    rows = read(op, "y", y, (int(ids.max(initial=0)) + 1, d)).astype(np.float64)
    return rows[np.maximum(ids, 0)]


def _by_idx(op: str, x: Any, y: Any, ids: NDArray[np.int64], d: int, product: bool) -> Floats:
    """Distances of each row of x to the vectors that its ids name; infinitely bad ones for negative ids."""
    queries, out = read(op, "x", x, (len(ids), d)).astype(np.float64), np.empty(ids.shape, dtype=np.float32)
    step = max(1, _ROWS // max(1, ids.shape[1] * d))
    for i in range(0, len(ids), step):
        some = _named(op, y, d, ids[i : i + step])
        each = queries[i : i + step, None]
        out[i : i + step] = (each * some).sum(-1) if product else ((each - some) ** 2).sum(-1)
    out[ids < 0] = -np.inf if product else np.inf
    return out


def fvec_L2sqr_by_idx(dis: Floats, x: Any, y: Any, ids: Any, d: int, nx: int, ny: int) -> None:
    """Writes the squared L2 distances of each of nx vectors to ny vectors of its own, which ids name, to ``dis``."""
    op = "fvec_L2sqr_by_idx"
    write(op, "dis", dis, _by_idx(op, x, y, read(op, "ids", ids, (nx, ny), np.int64), d, False))


def fvec_inner_products_by_idx(ip: Floats, x: Any, y: Any, ids: Any, d: int, nx: int, ny: int) -> None:
    """Writes the inner products of each of nx vectors with ny vectors of its own, which ids name, to ``ip``."""
    op = "fvec_inner_products_by_idx"
    write(op, "ip", ip, _by_idx(op, x, y, read(op, "ids", ids, (nx, ny), np.int64), d, True))


def _pairs(op: str, d: int, n: int, x: Any, ix: Any, y: Any, iy: Any, dis: Floats, product: bool) -> None:
    a, b = read(op, "ix", ix, (n,), np.int64), read(op, "iy", iy, (n,), np.int64)
    u, v = _named(op, x, d, a), _named(op, y, d, b)
    found = (u * v).sum(-1) if product else ((u - v) ** 2).sum(-1)
    write(op, "dis", dis, np.where((a >= 0) & (b >= 0), found, -np.inf if product else np.inf).astype(np.float32))


def pairwise_indexed_L2sqr(d: int, n: int, x: Any, ix: Any, y: Any, iy: Any, dis: Floats) -> None:
    """Writes the squared L2 distances of n pairs of vectors, which ``ix`` and ``iy`` name;
    infinite ones for negative ids.
    """
    _pairs("pairwise_indexed_L2sqr", d, n, x, ix, y, iy, dis, False)


def pairwise_indexed_inner_product(d: int, n: int, x: Any, ix: Any, y: Any, iy: Any, dis: Floats) -> None:
    """Writes the inner products of n pairs of vectors, which ``ix`` and ``iy`` name;
    infinite ones for negative ids.
    """
    _pairs("pairwise_indexed_inner_product", d, n, x, ix, y, iy, dis, True)


def _knn_by_idx(
    op: str, x: Any, y: Any, subset: Any, d: int, shape: tuple[int, int, int, int], k: int, vals: Floats, ids: Any
) -> None:
    nx, _, nsubset, stride = shape
    stride = nsubset if stride < 0 else stride
    flat = read(op, "subset", subset, (max(nx - 1, 0) * stride + nsubset,), np.int64)
    named = flat[np.arange(nx)[:, None] * stride + np.arange(nsubset)]
    named = np.where(np.logical_or.accumulate(named < 0, axis=1), -1, named)  # the first negative one ends a list
    product = op == "knn_inner_products_by_idx"
    heap = float_minheap_array_t() if product else float_maxheap_array_t()
    heap.nh, heap.k = nx, k
    heap.val, heap.ids = np.empty((nx, k), dtype=np.float32), np.empty((nx, k), dtype=np.int64)
    heap.heapify()
    heap.addn_with_ids(nsubset, _by_idx(op, x, y, named, d, product), named, nsubset)
    write(op, "vals", vals, heap.val)
    write(op, "ids", ids, heap.ids)


def knn_L2sqr_by_idx(
    x: Any, y: Any, subset: Any, d: int, nx: int, ny: int, nsubset: int, k: int, vals: Floats, ids: Any,
    ld_subset: int = -1,
) -> None:  # fmt: skip
    """Writes the k nearest, by L2 distance, of ``nsubset`` vectors for each of nx: those that ``subset`` names."""
    _knn_by_idx("knn_L2sqr_by_idx", x, y, subset, d, (nx, ny, nsubset, ld_subset), k, vals, ids)


def knn_inner_products_by_idx(
    x: Any, y: Any, subset: Any, d: int, nx: int, ny: int, nsubset: int, k: int, vals: Floats, ids: Any,
    ld_ids: int = -1,
) -> None:  # fmt: skip
    """Writes the k best, by inner product, of ``nsubset`` vectors for each of nx: those that ``subset`` names."""
    _knn_by_idx("knn_inner_products_by_idx", x, y, subset, d, (nx, ny, nsubset, ld_ids), k, vals, ids)


def fvec_L2sqr_batch_4(
    x: Any, y0: Any, y1: Any, y2: Any, y3: Any, d: int, dis0: Floats, dis1: Floats, dis2: Floats, dis3: Floats
) -> None:
    """Writes the squared L2 distances of a vector to four others to arrays of one element."""
    for y, dis in ((y0, dis0), (y1, dis1), (y2, dis2), (y3, dis3)):
        write("fvec_L2sqr_batch_4", "dis", dis, np.array([fvec_L2sqr(x, y, d)], dtype=np.float32))


def fvec_inner_product_batch_4(
    x: Any, y0: Any, y1: Any, y2: Any, y3: Any, d: int, dis0: Floats, dis1: Floats, dis2: Floats, dis3: Floats
) -> None:
    """Writes the inner products of a vector with four others to arrays of one element."""
    for y, dis in ((y0, dis0), (y1, dis1), (y2, dis2), (y3, dis3)):
        write("fvec_inner_product_batch_4", "dis", dis, np.array([fvec_inner_product(x, y, d)], dtype=np.float32))


def fvec_L2sqr_ny_nearest(distances_tmp_buffer: Floats | None, x: Any, y: Any, d: int, ny: int) -> int:
    """Which of ny vectors is nearest, the first of equal ones; writes all squared distances to the buffer, if any."""
    op = "fvec_L2sqr_ny_nearest"
    query, rows = read(op, "x", x, (d,)).astype(np.float64), read(op, "y", y, (ny, d))
    found = ((rows - query) ** 2).sum(-1).astype(np.float32)
    if distances_tmp_buffer is not None:
        write(op, "distances_tmp_buffer", distances_tmp_buffer, found)
    return int(found.argmin()) if ny else 0


def inner_product_to_L2sqr(dis: Floats, nr1: Any, nr2: Any, n1: int, n2: int) -> None:
    """Makes squared L2 distances of inner products (n1, n2), given the squared norms, in place."""
    op = "inner_product_to_L2sqr"
    norms = read(op, "nr1", nr1, (n1, 1)) + read(op, "nr2", nr2, (n2,))
    write(op, "dis", dis, norms - 2 * read(op, "dis", dis, (n1, n2)))


def fvec_madd_and_argmin(n: int, a: Any, bf: float, b: Any, c: Floats) -> int:
    """Writes ``a + bf * b`` of n numbers to ``c``, and returns where the smallest is."""
    op = "fvec_madd_and_argmin"
    found = read(op, "a", a, (n,)) + np.float32(bf) * read(op, "b", b, (n,))
    write(op, "c", c, found)
    return int(found.argmin())


# --------------------------------------------------------------------------------------- binary codes


def hammings_knn_hc(ha: int_maxheap_array_t, a: Any, b: Any, nb: int, ncodes: int, ordered: int = 1) -> None:
    """Writes the k nearest of nb codes of ``ncodes`` bytes for each of ``ha.nh`` to a heap array.

    Raises:
        TypeError, ValueError: an array has another dtype, or too few elements.
    """
    op = "hammings_knn_hc"
    codes = read(op, "a", a, (ha.nh, ncodes), np.uint8)
    D, I = knn_hamming(codes, read(op, "b", b, (nb, ncodes), np.uint8), ha.k)
    ha.heapify()
    write(op, "ha.val", ha.val, D)
    write(op, "ha.ids", ha.ids, I)


def hammings_knn(ha: int_maxheap_array_t, a: Any, b: Any, nb: int, ncodes: int, ordered: int) -> None:
    """``hammings_knn_hc``, FAISS's older name."""
    hammings_knn_hc(ha, a, b, nb, ncodes, ordered)


def _bits(op: str, a: Any, b: Any, na: int, nb: int, ncodes: int) -> NDArray[np.int32]:
    first, second = read(op, "bs1", a, (na, ncodes), np.uint8), read(op, "bs2", b, (nb, ncodes), np.uint8)
    return np.asarray(hammings(first, second))


def hamming_count_thres(bs1: Any, bs2: Any, n1: int, n2: int, ht: int, ncodes: int, nptr: NDArray[Any]) -> None:
    """Writes how many pairs of codes, of n1 and n2, differ in at most ``ht`` bits, to an array of one uint64."""
    op = "hamming_count_thres"
    count = (_bits(op, bs1, bs2, n1, n2, ncodes) <= ht).sum()
    write(op, "nptr", nptr, np.array([count], dtype=np.uint64))


def crosshamming_count_thres(dbs: Any, n: int, ht: int, ncodes: int, nptr: NDArray[Any]) -> None:
    """Writes how many pairs of different codes of n differ in at most ``ht`` bits, to an array of one uint64."""
    op = "crosshamming_count_thres"
    near = np.triu(_bits(op, dbs, dbs, n, n, ncodes) <= ht, 1)
    write(op, "nptr", nptr, np.array([near.sum()], dtype=np.uint64))


def match_hamming_thres(
    bs1: Any, bs2: Any, n1: int, n2: int, ht: int, ncodes: int, idx: NDArray[np.int64], dis: NDArray[np.int32]
) -> int:
    """Writes the pairs that differ in at most ``ht`` bits, and by how many, and returns how many there are.

    Args:
        bs1, bs2: n1 and n2 codes of ``ncodes`` bytes.
        n1, n2, ncodes: their numbers, and bytes.
        ht: how many bits.
        idx: where the two numbers of each pair go, int64.
        dis: where the distances go, int32.
    """
    op = "match_hamming_thres"
    bits = _bits(op, bs1, bs2, n1, n2, ncodes)
    i, j = np.nonzero(bits <= ht)
    write(op, "idx", idx, np.stack([i, j], axis=1).astype(np.int64))
    write(op, "dis", dis, bits[i, j].astype(np.int32))
    return len(i)


# -------------------------------------------------------------------------------------------- results


def _merge(
    op: str, n: int, k: int, nshard: int, all_distances: Any, all_labels: Any, distances: Any, labels: Any
) -> None:
    shape = (nshard, n, k)
    D = read(op, "all_distances", all_distances, shape, np.asarray(all_distances).dtype.type)
    found, ids = merge_knn_results(D, read(op, "all_labels", all_labels, shape, np.int64), op.endswith("CMax"))
    write(op, "distances", distances, found.astype(D.dtype))
    write(op, "labels", labels, ids)


def merge_knn_results_CMin(
    n: int, k: int, nshard: int, all_distances: Any, all_labels: Any, distances: Any, labels: Any
) -> None:
    """Writes the k smallest of the results (nshard, n, k) of several indexes."""
    _merge("merge_knn_results_CMin", n, k, nshard, all_distances, all_labels, distances, labels)


def merge_knn_results_CMax(
    n: int, k: int, nshard: int, all_distances: Any, all_labels: Any, distances: Any, labels: Any
) -> None:
    """Writes the k largest of the results (nshard, n, k) of several indexes."""
    _merge("merge_knn_results_CMax", n, k, nshard, all_distances, all_labels, distances, labels)

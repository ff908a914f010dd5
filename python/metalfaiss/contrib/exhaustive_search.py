"""Exact results for databases that come block by block, and range searches with a limit on results."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from metalfaiss.distances import knn
from metalfaiss.errors import ArgumentError
from metalfaiss.indexes.binary import IndexBinary
from metalfaiss.indexes.binary_flat import IndexBinaryFlat
from metalfaiss.indexes.flat import IndexFlat
from metalfaiss.metrics import METRIC_L2, is_similarity_metric

__all__ = [
    "apply_maxres",
    "exponential_query_iterator",
    "knn",
    "knn_ground_truth",
    "range_ground_truth",
    "range_search_gpu",
    "range_search_max_results",
    "threshold_radius",
    "threshold_radius_nres",
]


def knn_ground_truth(
    xq: NDArray[Any],
    db_iterator: Iterable[NDArray[Any]],
    k: int,
    metric_type: int = METRIC_L2,
    shard: bool = False,
    ngpu: int = -1,
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """The k nearest vectors of a database that need not fit into memory.

    Args:
        xq: queries, shape (nq, d).
        db_iterator: gives the database in blocks, shape (n, d).
        k: how many.
        metric_type: what is compared.
        shard, ngpu: kept for FAISS's signature: searches run on MLX's default device.

    Returns:
        Distances and ids, both (nq, k), as ``IndexFlat.search`` gives them.
    """
    index = IndexFlat(xq.shape[1], metric_type)
    D, I = index.search(xq, k)
    sign, first = -1 if is_similarity_metric(metric_type) else 1, 0
    for block in db_iterator:
        index.add(block)
        more, ids = index.search(xq, k)
        index.reset()
        D, I = np.hstack([D, more]), np.hstack([I, np.where(ids < 0, -1, ids + first)])
        order = np.argsort(sign * D, axis=1, kind="stable")[:, :k]
        D, I = np.take_along_axis(D, order, 1), np.take_along_axis(I, order, 1)
        first += len(block)
    return D, I


def range_ground_truth(
    xq: NDArray[Any],
    db_iterator: Iterable[NDArray[Any]],
    threshold: float,
    metric_type: int = METRIC_L2,
    shard: bool = False,
    ngpu: int = -1,
) -> tuple[NDArray[np.uint64], NDArray[np.float32], NDArray[np.int64]]:
    """All vectors within a radius, of a database that need not fit into memory.

    Args:
        xq: queries, shape (nq, d).
        db_iterator: gives the database in blocks, shape (n, d).
        threshold: the radius.
        metric_type: what is compared.
        shard, ngpu: kept for FAISS's signature: searches run on MLX's default device.

    Returns:
        Limits (nq + 1,), distances and ids, as a range search gives them.
    """
    index, first = IndexFlat(xq.shape[1], metric_type), 0
    queries, distances, ids = [], [], []
    for block in db_iterator:
        index.add(block)
        lims, D, I = index.range_search(xq, threshold)
        index.reset()
        queries.append(np.repeat(np.arange(len(xq)), _sizes(lims)))
        distances.append(D)
        ids.append(I + first)
        first += len(block)
    if not queries:
        return np.zeros(len(xq) + 1, np.uint64), np.zeros(0, np.float32), np.zeros(0, np.int64)
    query, D, I = np.concatenate(queries), np.concatenate(distances), np.concatenate(ids)
    order = np.argsort(query, kind="stable")
    return _limits(np.bincount(query, minlength=len(xq))), D[order], I[order]


def threshold_radius_nres(
    nres: NDArray[Any], dis: NDArray[Any], ids: NDArray[Any], thresh: float, keep_max: bool = False
) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """Results within a smaller radius, where ``nres`` says how many each query has."""
    kept = dis > thresh if keep_max else dis < thresh
    query = np.repeat(np.arange(len(nres)), np.asarray(nres, dtype=np.int64))
    return np.bincount(query[kept], minlength=len(nres)).astype(nres.dtype), dis[kept], ids[kept]


def threshold_radius(
    lims: NDArray[Any], dis: NDArray[Any], ids: NDArray[Any], thresh: float, keep_max: bool = False
) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """Results of a range search within a smaller radius."""
    counts, dis, ids = threshold_radius_nres(_sizes(lims), dis, ids, thresh, keep_max)
    return _limits(counts).astype(lims.dtype), dis, ids


def range_search_max_results(
    index: Any,
    query_iterator: Iterable[NDArray[Any]],
    radius: float,
    max_results: int | None = None,
    min_results: int | None = None,
    shard: bool = False,
    ngpu: int = 0,
    clip_to_min: bool = False,
) -> tuple[float, NDArray[np.uint64], NDArray[Any], NDArray[np.int64]]:
    """A range search whose radius shrinks whenever there are too many results.

    Args:
        index: is searched.
        query_iterator: gives the queries in batches.
        radius: to begin with.
        max_results: above so many the radius shrinks; by default 1.5 times ``min_results``.
        min_results: to so many; by default 0.8 times ``max_results``.
        shard, ngpu: kept for FAISS's signature: searches run on MLX's default device.
        clip_to_min: whether it shrinks at the end, too.

    Returns:
        The last radius, and the results of all queries within it.

    Raises:
        ValueError: neither limit is given.
    """
    if max_results is None and min_results is None:
        raise ArgumentError("[range_search_max_results] max_results or min_results must be given. Received none.")
    least = int(0.8 * (max_results or 0)) if min_results is None else min_results
    most = int(1.5 * least) if max_results is None else max_results
    similarity = is_similarity_metric(index.metric_type)
    counts, D, I = np.zeros(0, np.int64), np.zeros(0, np.float32), np.zeros(0, np.int64)
    for batch in query_iterator:
        lims, more, ids = index.range_search(batch, radius)
        counts = np.concatenate([counts, _sizes(lims)])
        D, I = np.concatenate([D, more]), np.concatenate([I, ids])
        if len(D) > most:
            radius, counts, D, I = _shrunk(counts, D, I, least, similarity)
    if clip_to_min and len(D) > least:
        radius, counts, D, I = _shrunk(counts, D, I, least, similarity)
    return radius, _limits(counts), D, I


def apply_maxres(res_batches: list[Any], target_nres: int, keep_max: bool = False) -> tuple[float, int]:
    """Finds the radius within which so many results of several batches are, and drops the others, in place.

    Args:
        res_batches: (how many results each query has, distances, ids) of each batch.
        target_nres: how many results, fewer than there are.
        keep_max: whether larger values are better.

    Returns:
        The radius, and how many results there are then.

    Raises:
        ValueError: there are not more results.
    """
    D, sign = np.hstack([dis for _, dis, _ in res_batches]), -1 if keep_max else 1
    if len(D) <= target_nres:
        raise ArgumentError(f"[apply_maxres] There must be more than {target_nres} results. Received {len(D)}.")
    radius = (sign * np.partition(sign * D, target_nres)[target_nres]).item()
    res_batches[:] = [threshold_radius_nres(n, dis, ids, radius, keep_max=keep_max) for n, dis, ids in res_batches]
    return radius, sum(len(dis) for _, dis, _ in res_batches)


def range_search_gpu(
    xq: NDArray[Any], r2: float, index_gpu: Any, index_cpu: Any, gpu_k: int = 1024
) -> tuple[NDArray[np.int64], NDArray[Any], NDArray[np.int64]]:
    """A range search by an index that can only find neighbours.

    Args:
        xq: queries, shape (nq, d).
        r2: the radius.
        index_gpu: finds ``gpu_k`` neighbours of each.
        index_cpu: searches for those whose neighbours are all within: an index, its vectors (n, d), or None for no more
            than ``gpu_k`` results.
        gpu_k: as above.

    Returns:
        Limits (nq + 1,), distances, best first where ``index_gpu`` found them, and ids.
    """
    similarity, k = is_similarity_metric(index_gpu.metric_type), min(index_gpu.ntotal, gpu_k)
    D, I = index_gpu.search(xq, k)
    within = r2 < D if similarity else r2 > D
    found = [(near[ok], ids[ok]) for near, ids, ok in zip(D, I, within, strict=True)]
    more = np.flatnonzero(within.all(axis=1))
    if index_cpu is not None and more.size:
        index = _exact(index_gpu, index_cpu) if isinstance(index_cpu, np.ndarray) else index_cpu
        lims, near, ids = index.range_search(np.ascontiguousarray(xq[more]), r2)
        ends = lims.astype(np.int64)
        for query, a, b in zip(more, ends[:-1], ends[1:], strict=True):
            found[query] = near[a:b].astype(D.dtype), ids[a:b]
    limits = np.concatenate([[0], np.cumsum([len(near) for near, _ in found])]).astype(np.int64)
    return limits, np.concatenate([near for near, _ in found]), np.concatenate([ids for _, ids in found])


def _exact(like: Any, vectors: NDArray[Any]) -> Any:
    index = IndexBinaryFlat(like.d) if isinstance(like, IndexBinary) else IndexFlat(like.d, like.metric_type)
    index.add(vectors)
    return index


def exponential_query_iterator(xq: NDArray[Any], start_bs: int = 32, max_bs: int = 20000) -> Iterator[NDArray[Any]]:
    """Queries in batches, each twice as large as the one before up to a limit."""
    first, size = 0, start_bs
    while first < len(xq):
        yield xq[first : first + size]
        first += size
        size = 2 * size if size < max_bs else size


def _shrunk(
    counts: NDArray[Any], D: NDArray[Any], I: NDArray[Any], target: int, similarity: bool
) -> tuple[float, NDArray[Any], NDArray[Any], NDArray[Any]]:
    sign = -1 if similarity else 1
    radius = float(sign * np.partition(sign * D, target)[target])
    return radius, *threshold_radius_nres(counts, D, I, radius, keep_max=similarity)


def _sizes(lims: NDArray[Any]) -> NDArray[np.int64]:
    """How many results each query has."""
    ends = np.asarray(lims, dtype=np.int64)
    return ends[1:] - ends[:-1]


def _limits(counts: NDArray[Any]) -> NDArray[np.uint64]:
    return np.concatenate([[0], np.cumsum(counts)]).astype(np.uint64)
